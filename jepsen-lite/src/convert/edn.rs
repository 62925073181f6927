//! A reader of EDN (<https://github.com/edn-format/edn>) that knows where each form stands.
//!
//! Tagged literals stay tagged, `#_` and comments are skipped. Forms come one by one, so that a file of many
//! operations is never held as one tree.
//!
//! Leaves out: metadata and namespaced maps, which are Clojure and not EDN; they are refused where they stand.

use std::iter::Peekable;
use std::str::Chars;

use super::number::{Number, number};
use super::{ConvertError, Place};

/// How deep forms may nest: no history needs more, and a hostile file must not exhaust the stack.
const DEPTH_MAX: usize = 64;

/// A form and where it begins.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Form {
    pub place: Place,
    pub data: Data,
}

/// What a form says.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Data {
    Nil,
    Bool(bool),
    Number(Number),
    Text(String),
    /// Without its colon.
    Keyword(String),
    /// A symbol or a character, as it is written.
    Atom(String),
    /// A list or a vector: equal if their items are.
    Sequence(Vec<Form>),
    Set(Vec<Form>),
    Map(Vec<(Form, Form)>),
    Tagged(String, Box<Form>),
}

/// Reads forms from a text.
pub(super) struct Reader<'t> {
    source: &'t str,
    chars: Peekable<Chars<'t>>,
    place: Place,
}

impl<'t> Reader<'t> {
    /// A reader at the beginning of `text`; errors name `source` and count from `place`.
    pub fn new(source: &'t str, text: &'t str, place: Place) -> Self {
        Self { source, chars: text.chars().peekable(), place }
    }

    /// Hands out each form; those of a list or vector at the top level one by one, as if they stood there.
    pub fn each(&mut self, mut take: impl FnMut(Form) -> Result<(), ConvertError>) -> Result<(), ConvertError> {
        while let Some(first) = self.skip(0)? {
            let close = match first {
                '[' => ']',
                '(' => ')',
                _ => {
                    take(self.form(0)?)?;
                    continue;
                }
            };
            let open = self.place;
            self.next();
            while let Some(form) = self.item(close, open, 1)? {
                take(form)?;
            }
        }
        Ok(())
    }

    /// The next form, or nothing at the end.
    pub fn next_form(&mut self) -> Result<Option<Form>, ConvertError> {
        match self.skip(0)? {
            Some(_) => self.form(0).map(Some),
            None => Ok(None),
        }
    }

    fn error<T>(&self, place: Place, message: impl Into<String>) -> Result<T, ConvertError> {
        Err(ConvertError::new(self.source, place, message))
    }

    fn next(&mut self) -> Option<char> {
        let next = self.chars.next()?;
        self.place = if next == '\n' {
            Place { line: self.place.line + 1, column: 1 }
        } else {
            Place { column: self.place.column + 1, ..self.place }
        };
        Some(next)
    }

    /// Skips what means nothing; the character that comes then.
    fn skip(&mut self, depth: usize) -> Result<Option<char>, ConvertError> {
        let mut discards: Vec<Place> = Vec::new();
        loop {
            match self.chars.peek().copied() {
                Some(next) if next.is_whitespace() || next == ',' || next == '\u{feff}' => {
                    self.next();
                }
                Some(';') => while self.next().is_some_and(|next| next != '\n') {},
                Some('#') if self.chars.clone().nth(1) == Some('_') => {
                    discards.push(self.place);
                    self.next();
                    self.next();
                }
                other => {
                    let Some(place) = discards.pop() else { return Ok(other) };
                    if other.is_none_or(|next| "])}".contains(next)) {
                        return self.error(place, "#_ discards the next form, and there is none");
                    }
                    self.form(depth + 1)?;
                }
            }
        }
    }

    fn form(&mut self, depth: usize) -> Result<Form, ConvertError> {
        let place = self.place;
        if depth > DEPTH_MAX {
            return self.error(place, format!("forms nest deeper than {DEPTH_MAX}"));
        }
        let data = match self.chars.peek() {
            Some('[') => Data::Sequence(self.items(']', depth)?),
            Some('(') => Data::Sequence(self.items(')', depth)?),
            Some('{') => Data::Map(self.map(place, depth)?),
            Some('"') => Data::Text(self.text(place)?),
            Some('#') => self.dispatch(place, depth)?,
            Some('\\') => {
                self.next();
                let first = self.next().map(String::from).unwrap_or_default();
                Data::Atom(format!("\\{first}{}", self.token()))
            }
            Some(close @ (']' | ')' | '}')) => {
                let message = format!("{close} closes nothing");
                return self.error(place, message);
            }
            Some(other @ ('^' | '@' | '`' | '~' | '\'')) => {
                let message = format!("{other} is Clojure and not EDN");
                return self.error(place, message);
            }
            Some(_) => self.scalar(place)?,
            None => return self.error(place, "the file ends where a form should be"),
        };
        Ok(Form { place, data })
    }

    /// The next item of a collection, or nothing at its end.
    fn item(&mut self, close: char, open: Place, depth: usize) -> Result<Option<Form>, ConvertError> {
        match self.skip(depth)? {
            None => self.error(open, format!("the file ends before the {close} of what begins here")),
            Some(next) if next == close => {
                self.next();
                Ok(None)
            }
            Some(_) => self.form(depth).map(Some),
        }
    }

    fn items(&mut self, close: char, depth: usize) -> Result<Vec<Form>, ConvertError> {
        let open = self.place;
        self.next();
        let mut items = Vec::new();
        while let Some(item) = self.item(close, open, depth + 1)? {
            items.push(item);
        }
        Ok(items)
    }

    fn map(&mut self, open: Place, depth: usize) -> Result<Vec<(Form, Form)>, ConvertError> {
        self.next();
        let mut pairs: Vec<(Form, Form)> = Vec::new();
        while let Some(key) = self.item('}', open, depth + 1)? {
            let place = self.place;
            let Some(value) = self.item('}', open, depth + 1)? else {
                return self.error(place, "a map has a key without a value");
            };
            if pairs.iter().any(|(other, _)| same(&other.data, &key.data)) {
                return self.error(key.place, "a map has the same key twice");
            }
            pairs.push((key, value));
        }
        Ok(pairs)
    }

    fn dispatch(&mut self, place: Place, depth: usize) -> Result<Data, ConvertError> {
        self.next();
        match self.chars.peek() {
            Some('{') => Ok(Data::Set(self.items('}', depth)?)),
            Some('#') => {
                self.next();
                Ok(Data::Atom(format!("##{}", self.token())))
            }
            Some(first) if first.is_alphabetic() => {
                let tag = self.token();
                if self.skip(depth)?.is_none() {
                    return self.error(place, format!("#{tag} tags nothing"));
                }
                Ok(Data::Tagged(tag, Box::new(self.form(depth + 1)?)))
            }
            _ => self.error(place, "# is followed by {, _, # or a tag"),
        }
    }

    fn text(&mut self, open: Place) -> Result<String, ConvertError> {
        self.next();
        let mut text = String::new();
        loop {
            let place = self.place;
            match self.next() {
                None => return self.error(open, "the file ends inside the string that begins here"),
                Some('"') => return Ok(text),
                Some('\\') => match self.next() {
                    Some('n') => text.push('\n'),
                    Some('t') => text.push('\t'),
                    Some('r') => text.push('\r'),
                    Some('b') => text.push('\u{8}'),
                    Some('f') => text.push('\u{c}'),
                    Some(plain @ ('\\' | '"')) => text.push(plain),
                    Some('u') => text.push(self.unicode(place)?),
                    _ => return self.error(place, "this escape is not one of EDN"),
                },
                Some(plain) => text.push(plain),
            }
        }
    }

    /// The character of `\uXXXX`, or of two of them that form a surrogate pair.
    fn unicode(&mut self, place: Place) -> Result<char, ConvertError> {
        let mut units = vec![self.hex(place)?];
        if (0xd800..0xdc00).contains(&units[0]) && self.chars.clone().take(2).eq(['\\', 'u']) {
            self.next();
            self.next();
            units.push(self.hex(place)?);
        }
        match char::decode_utf16(units).next() {
            Some(Ok(decoded)) => Ok(decoded),
            _ => self.error(place, "half of a surrogate pair is no character"),
        }
    }

    fn hex(&mut self, place: Place) -> Result<u16, ConvertError> {
        let digits: String = (0..4).filter_map(|_| self.next()).collect();
        match u16::from_str_radix(&digits, 16) {
            Ok(unit) if digits.len() == 4 => Ok(unit),
            _ => self.error(place, "\\u is followed by four hexadecimal digits"),
        }
    }

    /// Everything up to the next delimiter.
    fn token(&mut self) -> String {
        let mut token = String::new();
        while let Some(next) = self.chars.peek().copied() {
            if next.is_whitespace() || "()[]{}\",;\\".contains(next) {
                break;
            }
            token.push(next);
            self.next();
        }
        token
    }

    fn scalar(&mut self, place: Place) -> Result<Data, ConvertError> {
        let token = self.token();
        let digits = token.strip_prefix(['-', '+']).unwrap_or(&token);
        if digits.starts_with(|first: char| first.is_ascii_digit()) {
            return match number(&token) {
                Some(number) => Ok(Data::Number(number)),
                None => self.error(place, format!("{token} is no number of EDN")),
            };
        }
        match token.as_str() {
            "nil" => Ok(Data::Nil),
            "true" => Ok(Data::Bool(true)),
            "false" => Ok(Data::Bool(false)),
            _ => match token.strip_prefix(':') {
                Some("") => self.error(place, "a colon without a name"),
                Some(name) => Ok(Data::Keyword(name.into())),
                None => Ok(Data::Atom(token)),
            },
        }
    }
}

/// Whether two keys of a map are equal, for the simple kinds that keys are.
fn same(one: &Data, two: &Data) -> bool {
    !matches!(one, Data::Sequence(_) | Data::Set(_) | Data::Map(_) | Data::Tagged(..)) && one == two
}
