//! Lists: the rows of a space in log order, page by page, all of one snapshot; a stream of pages, or one page a call.
//!
//! Who asks for page after page names the first one's log index in the others: each then shows the state of that index, on
//! whatever node it is asked for. Nothing is kept here between pages.

use super::status;
use crate::gate::View;
use crate::node::Node;
use crate::recall::wire_row;
use engram_mutants::mutant;
use engram_proto::error::Result;
use engram_proto::query::{ReadLevel, check_list};
use engram_proto::wire::v1::{Filter, ListRequest, ListResponse};
use prost::Message;
use tokio::sync::mpsc;
use tonic::Status;

/// Rows of one page, and its bytes at about which it is full.
const PAGE_ROWS: usize = 256;
const PAGE_BYTES: usize = 1 << 20;

/// Sends all pages.
pub async fn pages(node: &Node, request: ListRequest, out: mpsc::Sender<std::result::Result<ListResponse, Status>>) {
    let mut listing = match Listing::begin(node, request).await {
        Ok(listing) => listing,
        Err(error) => return drop(out.send(Err(status(error))).await),
    };
    loop {
        // The first page goes out even when it is empty: it states the snapshot.
        let page = listing.page();
        let going_on = page.as_ref().is_ok_and(|page| page.next_row.is_some());
        if out.send(page.map_err(status)).await.is_err() || !going_on {
            return;
        }
    }
}

/// The first page alone; it says where the next one begins.
pub async fn page(node: &Node, request: ListRequest) -> Result<ListResponse> {
    Listing::begin(node, request).await?.page()
}

/// What is left of a list.
struct Listing {
    view: View,
    /// The past that was asked for.
    at_index: Option<u64>,
    filter: Option<Filter>,
    with_embedding: bool,
    next: u32,
    /// Not itself one of them.
    until: u32,
    left: u64,
}

impl Listing {
    async fn begin(node: &Node, request: ListRequest) -> Result<Self> {
        check_list(&request)?;
        let level = match request.at_index {
            Some(index) => ReadLevel::AtLeast { index, incarnation: 0 },
            None => ReadLevel::from(request.consistency),
        };
        let mut view = node.gate.view(&request.space, level, 0).await?;
        if let Some(index) = request.at_index {
            view.go_back(index)?;
        }
        let rows = view.at.rows;
        Ok(Self {
            at_index: request.at_index,
            filter: request.filter,
            with_embedding: request.with_embedding,
            next: request.from_row.min(rows.into()) as u32,
            until: rows - u32::from(mutant!("list_ends_early") && rows > 0),
            left: if request.limit == 0 { u64::MAX } else { request.limit },
            view,
        })
    }

    /// The next page. Errors: `BelowFloor` when rows of the past that was asked for were erased meanwhile.
    fn page(&mut self) -> Result<ListResponse> {
        let (mut rows, mut bytes) = (Vec::new(), 0);
        while self.goes_on() && rows.len() < PAGE_ROWS && bytes < PAGE_BYTES {
            let number = self.next;
            self.next += 1;
            if !self.view.shows(number, self.filter.as_ref()) {
                continue;
            }
            let Some(row) = wire_row(&self.view.space, number, self.with_embedding) else { continue };
            bytes += row.encoded_len();
            rows.push(row);
            self.left -= 1;
        }
        self.at_index.map_or(Ok(()), |index| self.view.reaches(index))?;
        let next_row = self.goes_on().then_some(self.next.into());
        Ok(ListResponse { snapshot: Some(self.view.snapshot), rows, next_row })
    }

    fn goes_on(&self) -> bool {
        self.next < self.until && self.left > 0
    }
}
