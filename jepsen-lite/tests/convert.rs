//! Histories of other tools: what they become, where they are refused, and that odd ones stop nothing.

use engram_jepsen_lite::convert::{Format, Keys, Options, convert};
use engram_jepsen_lite::{History, Model};
use proptest::prelude::*;
use serde_json::{Value, json};

fn read(format: Format, text: &str, options: &Options) -> Result<History, String> {
    convert(format, "h", text, options).map(|done| done.history).map_err(|error| error.to_string())
}

fn edn(text: &str) -> Result<History, String> {
    read(Format::Edn, text, &Options::default())
}

/// Process, type, f, key, value of each event.
fn told(history: &History) -> Vec<String> {
    let event = |line: &str| {
        let event: Value = serde_json::from_str(line).expect("an event");
        let word = |field: &str| event[field].as_str().unwrap_or_default().to_string();
        format!("{} {} {} {} {}", event["process"], word("type"), word("f"), event["key"], event["value"])
    };
    history.to_jsonl().lines().map(event).collect()
}

#[test]
fn one_map_a_line_one_vector_and_records_are_the_same_history() {
    let maps = "{:type :invoke, :f :write, :value 1, :process 0, :time 10, :index 0}\n\
                {:type :ok, :f :write, :value 1, :process 0, :time 20, :index 1}";
    let records = maps.replace("{:type", "#jepsen.history.Op{:type");
    let forms = [
        maps.to_string(),
        format!("[{maps}]"),
        format!("({maps})\r\n"),
        records,
        maps.replace('\n', "\r\n"),
        format!("\u{feff}; a comment\n#_{{:ignored true}} {maps} ; the end"),
        maps.replace(":type", "\"type\"").replace(":invoke", "\"invoke\""),
    ];
    for form in forms {
        let history = edn(&form).unwrap_or_else(|error| panic!("{error}\n{form}"));
        assert_eq!(told(&history), ["0 invoke write null 1", "0 ok write null 1"], "{form}");
        assert_eq!(history.events[1].time, 20);
    }
}

#[test]
fn values_keep_what_they_are() {
    let cases = [
        ("nil", json!(null)),
        ("true", json!(true)),
        ("-7", json!(-7)),
        ("18446744073709551615", json!(18_446_744_073_709_551_615_u64)),
        ("99999999999999999999", json!({"edn": "99999999999999999999N"})),
        ("1.5", json!(1.5)),
        ("1.0", json!({"edn": "1.0"})),
        ("\"é \\u00e9 \\\" 💡 \\ud83d\\udca1\"", json!("é é \" 💡 💡")),
        (":open", json!(":open")),
        ("\":open\"", json!({"edn": "\":open\""})),
        ("#{3 1 2}", json!([1, 2, 3])),
        ("(1 [2 nil])", json!([1, [2, null]])),
        ("{:a 1, \"b\" 2}", json!({"a": 1, "\"b\"": 2})),
        ("#inst \"2014\"", json!({"edn": "#inst \"2014\""})),
        ("\\a", json!({"edn": "\\a"})),
        ("##NaN", json!({"edn": "##NaN"})),
    ];
    for (text, expected) in cases {
        let history = edn(&format!("{{:process 0 :type :invoke :f :write :value {text}}}")).expect(text);
        assert_eq!(history.events[0].value, expected, "{text}");
    }
}

#[test]
fn keys_of_jepsen_independent_are_found_in_each_spelling() {
    let run = |invoke: &str, ok: &str| {
        let text = format!(
            "{{:process 0 :type :invoke :f :read :value {invoke}}}\n{{:process 0 :type :ok :f :read :value {ok}}}"
        );
        told(&edn(&text).expect("a history"))
    };
    let expected = ["0 invoke read 7 null", "0 ok read 7 3"];
    assert_eq!(run("[7 nil]", "[7 3]"), expected);
    assert_eq!(run("#jepsen.independent/tuple [7 nil]", "#jepsen.independent/tuple [7 3]"), expected);
    assert_eq!(run("#jepsen.independent.Tuple{:key 7, :value nil}", "#clojure.lang.MapEntry[7 3]"), expected);
    // A read of a pair is not a key: the read was invoked with nil.
    assert_eq!(run("nil", "[7 3]"), ["0 invoke read null null", "0 ok read null [7,3]"]);
    let text = "{:process 0 :type :invoke :f :cas :value [1 2]}\n{:process 0 :type :ok :f :cas :value [1 2]}";
    let history = edn(text).expect("a history");
    assert_eq!((history.events[1].result, history.events[1].key.clone()), (Some(true), Value::Null));
    let tuples = Options { keys: Keys::Tuple, ..Options::default() };
    assert_eq!(told(&read(Format::Edn, text, &tuples).expect("pairs"))[0], "0 invoke cas 1 2");
    let none = Options { keys: Keys::None, ..Options::default() };
    let text = "{:process 0 :type :invoke :f :read :value [7 nil]}";
    assert_eq!(told(&read(Format::Edn, text, &none).expect("no keys"))[0], "0 invoke read null [7,null]");
}

#[test]
fn nemeses_are_left_out_and_processes_in_doubt_get_new_numbers() {
    let text = "{:process :nemesis :type :info :f :start :value nil}
                {:process 4 :type :invoke :f :write :value 1}
                {:process 4 :type :info :f :write :value 1 :error :timeout}
                {:process \"nemesis\" :type :info :f :stop}
                {:process 4 :type :invoke :f :read}
                {:process 4 :type :ok :f :read :value 1}
                {:process 3 :type :invoke :f :read :value nil}";
    let done = convert(Format::Edn, "h", text, &Options::default()).expect("a history");
    let expected = ["4 invoke write null 1", "4 info write null 1", "5 invoke read null null", "5 ok read null 1"];
    assert_eq!(told(&done.history)[..4], expected);
    assert_eq!(done.notes.len(), 2, "{:?}", done.notes);
    assert!(Model::Register.check(&done.history, 1 << 20).is_valid());
}

#[test]
fn an_initial_value_is_written_before_all_else() {
    let text = "{:process 0 :type :invoke :f :read :value nil}\n{:process 0 :type :ok :f :read :value 0}";
    let initial = Options { initial: Some(json!(0)), ..Options::default() };
    let valid = |options: &Options| {
        Model::CasRegister.check(&read(Format::Edn, text, options).expect("a history"), 1 << 20).is_valid()
    };
    assert!(!valid(&Options::default()) && valid(&initial));
}

#[test]
fn a_read_of_nil_is_a_value_unless_it_is_to_say_nothing() {
    let text = "{:process 0 :type :invoke :f :write :value 1}{:process 0 :type :ok :f :write :value 1}
                {:process 0 :type :invoke :f :read}{:process 0 :type :ok :f :read :value nil}
                {:process 0 :type :invoke :f :read}{:process 0 :type :ok :f :read :value 1}";
    let unknown = Options { null_reads_unknown: true, ..Options::default() };
    let valid = |options: &Options| {
        Model::Register.check(&read(Format::Edn, text, options).expect("a history"), 1 << 20).is_valid()
    };
    assert!(!valid(&Options::default()) && valid(&unknown));
}

#[test]
fn what_is_refused_is_named_by_line_and_column() {
    let op = "{:process 0 :type :invoke :f :read}";
    let cases = [
        ("{:process 0 :type :invoke", "h:1:1: the file ends before the }"),
        ("\n  {:process 0 :type :begin :f :read}", "h:2:21: :type is :invoke, :ok, :fail or :info"),
        ("{:process 0 :f :read}", "h:1:1: an operation without :type"),
        ("{:type :ok :f :read}", "h:1:1: an operation without :process"),
        ("{:process 1.5 :type :ok :f :read}", "h:1:11: :process is an integer"),
        ("{:process 0 :type :ok :f 3}", "h:1:26: :f is a keyword"),
        ("{:process 0 :type :ok :f :read :value 007}", "h:1:39: 007 is no number"),
        ("{:process 0 :process 1}", "h:1:13: a map has the same key twice"),
        ("{:a}", "h:1:4: a map has a key without a value"),
        ("[1 2]", "h:1:2: an operation is a map"),
        ("{:process 0 :type :ok :f :read}", "h:1:1: process 0 completes an operation that it never invoked"),
        ("^{:a 1} {}", "h:1:1: ^ is Clojure"),
        ("\"abc", "h:1:1: the file ends inside the string"),
        ("\"\\x\"", "h:1:2: this escape"),
        ("#_", "h:1:1: #_ discards"),
        (")", "h:1:1: ) closes nothing"),
        ("é ]", "h:1:1: an operation is a map"),
        ("{:process 0 :type :invoke :f :add :value #{1 1}}", "h:1:46: a set has 1 twice"),
        ("{:process 0 :type :invoke :f :r :index 5}{:process 1 :type :invoke :f :r :index 5}", "h:1:81: index 5 comes"),
    ];
    for (text, expected) in cases {
        let error = edn(text).expect_err(text);
        assert!(error.starts_with(expected), "{text}: {error}");
    }
    let twice = format!("{op}\n{op}");
    assert!(edn(&twice).expect_err("busy").starts_with("h:2:1: process 0 already has an operation open, since line 1"));
    let other = format!("{op}\n{}", "{:process 0 :type :ok :f :write}");
    assert!(edn(&other).expect_err("another").starts_with("h:2:1: completes \"write\", but line 1 invoked \"read\""));
}

#[test]
fn deep_nesting_is_refused_and_not_a_crash() {
    for opening in ["[", "{:a ", "#{", "#t ", "#_[", "#_", "#_#_ #t "] {
        let error = edn(&opening.repeat(100_000)).expect_err("unfinished");
        assert!(error.starts_with("h:1:"), "{opening}: {error}");
    }
}

#[test]
fn an_empty_file_and_one_of_invocations_alone_are_histories() {
    for text in ["", "\n\n", "[]", "; nothing\n"] {
        assert_eq!(edn(text).expect("empty").events.len(), 0, "{text:?}");
    }
    let open = edn("{:process 0 :type :invoke :f :write :value 1}{:process 1 :type :invoke :f :read}").expect("two");
    assert!(Model::Register.check(&open, 1 << 20).is_valid());
}

const LOG: &str = "INFO  jepsen.util - 0\t:invoke\t:write\t4\r
INFO  jepsen.core - Worker 3 starting\r
INFO  jepsen.util - :nemesis\t:info\t:start\tnil\r
INFO  jepsen.util - 0\t:ok\t:write\t4\r
INFO  jepsen.util - 1\t:invoke\t:cas\t[3 0]\r
INFO  jepsen.util - 1\t:fail\t:cas\t[3 0]\r
INFO  jepsen.util - 1\t:invoke\t:cas\t[4 1]\r
INFO  jepsen.util - 1\t:info\t:cas\t:timed-out\r
INFO  jepsen.util - 2\t:invoke\t:read\tnil\r
INFO  jepsen.util - 2\t:fail\t:read\t:timed-out\r
INFO  jepsen.util - 2\t:invoke\t:read\tnil\r
INFO  jepsen.util - 2\t:ok\t:read\t1";

#[test]
fn the_log_of_etcd_is_read_line_by_line() {
    let history = read(Format::EtcdLog, LOG, &Options::default()).expect("a log");
    let expected = [
        "0 invoke write null 4",
        "0 ok write null 4",
        "1 invoke cas null [3,0]",
        "1 fail cas null [3,0]",
        "1 invoke cas null [4,1]",
        "1 info cas null null",
        "2 invoke read null null",
        "2 fail read null null",
        "2 invoke read null null",
        "2 ok read null 1",
    ];
    assert_eq!(told(&history), expected);
    assert!(Model::CasRegister.check(&history, 1 << 20).is_valid());
    let stale = LOG.replace(":read\t1", ":read\t3");
    let history = read(Format::EtcdLog, &stale, &Options::default()).expect("a log");
    assert!(!Model::CasRegister.check(&history, 1 << 20).is_valid());
}

#[test]
fn a_line_that_is_no_line_of_the_log_is_refused() {
    let refused = |line: &str| read(Format::EtcdLog, line, &Options::default()).expect_err(line);
    assert!(refused("hello").starts_with("h:1:1: is no line of a log"));
    assert!(refused("INFO  jepsen.util - 0\t:begin\t:read\tnil").starts_with("h:1:23: the type is"));
    assert!(refused("\nINFO  jepsen.util - 0\t:invoke\t:cas\t[1").starts_with("h:2:36: the file ends before the ]"));
    assert!(refused("INFO  jepsen.util - 0\t:invoke").starts_with("h:1:21: an operation without its function"));
    assert!(refused("INFO  jepsen.util - 0\t:ok\t:read\t1").starts_with("h:1:21: process 0 completes"));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 20_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_text_stops_a_reader(text in "[-{}\\[\\]()#_:\"\\\\;, \n0-9a-z/+.NM^é]{0,60}") {
        for format in Format::ALL {
            let _ = read(format, &text, &Options::default());
        }
    }

    /// Values that differ in EDN differ after conversion, as far as models compare them.
    #[test]
    fn different_scalars_stay_different(
        one in "(-?[0-9]{1,22}N?|-?[0-9]{1,3}\\.[0-9]{1,2}M?|:[a-c]{1,2}|\":?[a-c0-9.]{0,3}\"|nil|true|[a-c]{1,2}|\\\\[a-c])",
        two in "(-?[0-9]{1,22}N?|-?[0-9]{1,3}\\.[0-9]{1,2}M?|:[a-c]{1,2}|\":?[a-c0-9.]{0,3}\"|nil|true|[a-c]{1,2}|\\\\[a-c])",
    ) {
        let value = |text: &str| edn(&format!("{{:process 0 :type :invoke :f :write :value {text}}}")).map(|history| history.events[0].value.clone());
        if let (Ok(first), Ok(second)) = (value(&one), value(&two)) {
            let plain = |text: &str| {
                let text = text.trim_end_matches('N');
                match text.parse::<i128>() {
                    Ok(number) => number.to_string(),
                    Err(_) => match text.parse::<f64>() {
                        Ok(float) => format!("{float:?}"),
                        Err(_) => text.to_string(),
                    },
                }
            };
            prop_assert_eq!(first == second, plain(&one) == plain(&two), "{} {}: {} {}", one, two, first, second);
        }
    }
}
