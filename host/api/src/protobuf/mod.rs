//! Bodies in Kubernetes' protobuf encoding.
//!
//! Typed clients (`kubectl create secret`, client-go's clientset) send the core kinds so and do not fall back to JSON. Answers are JSON, which the
//! same clients accept. The tables (`kinds`, `definition`) are cut to the kinds that are built in; an unknown field is an error, because leaving it
//! out would lose what the client said.

mod definition;
mod kinds;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value};

/// The four bytes before every protobuf body of a Kubernetes client.
const MAGIC: &[u8] = b"k8s\0";

/// How deep messages may lie in each other. What comes of them has to be read as JSON again, which has such a limit too.
const DEEPEST: usize = 100;

/// How a field is to be read. What Go writes without asking (its zero values) is left out as its JSON leaves it out; what Go has a pointer for is
/// kept, because there it means something.
#[derive(Clone, Copy)]
enum Shape {
    Text,
    /// Behind a pointer: kept when it is empty.
    OptionalText,
    Bytes,
    Integer,
    /// Behind a pointer: kept when it is 0.
    OptionalInteger,
    /// Kept when it is false.
    Boolean,
    /// Left out when it is false.
    Flag,
    /// A floating-point number behind a pointer.
    Number,
    /// `metav1.Time`: seconds and nanoseconds.
    Time,
    /// `metav1.MicroTime`, the same with six digits.
    MicroTime,
    /// Left out when it is empty.
    Message(Fields),
    /// Behind a pointer: kept when it is empty.
    Optional(Fields),
    /// A message that is another value in JSON.
    Folded(Fields, fn(Value) -> Value),
    /// JSON, as the bytes of a message's only field.
    Json,
    Texts,
    Messages(Fields),
    Jsons,
    TextMap,
    BytesMap,
    /// A map to lists of texts.
    TextsMap,
    /// A map to messages.
    MessageMap(Fields),
    /// A map to messages that are other values in JSON.
    FoldedMap(Fields, fn(Value) -> Value),
    /// Read and left out: the server writes it.
    Dropped,
}

/// Number, name in JSON, and how it is read.
type Field = (u64, &'static str, Shape);
type Fields = &'static [Field];

use Shape::{
    Boolean, Bytes, BytesMap, Dropped, Flag, Folded, FoldedMap, Integer, Json, Jsons, Message, MessageMap, Messages,
    MicroTime, Number, Optional, OptionalInteger, OptionalText, Text, TextMap, Texts, TextsMap, Time,
};

/// `runtime.Unknown`: what kind the rest is.
const ENVELOPE: Fields = &[
    (1, "typeMeta", Message(&[(1, "apiVersion", Text), (2, "kind", Text)])),
    (2, "raw", Bytes),
    (3, "contentEncoding", Text),
    (4, "contentType", Text),
];

/// Decodes a body into the JSON that the same client would have sent.
///
/// # Errors
/// A sentence for the client: not this encoding, a kind that is not built in, a field that is not known.
pub(crate) fn decode(body: &[u8]) -> Result<Value, String> {
    let body =
        body.strip_prefix(MAGIC).ok_or("the body does not start with the prefix of Kubernetes' protobuf encoding")?;
    let envelope = message(body, ENVELOPE, 0)?;
    let text = |field: &str| envelope["typeMeta"][field].as_str().unwrap_or_default().to_owned();
    let (api_version, kind) = (text("apiVersion"), text("kind"));
    let fields = kinds::of(&api_version, &kind)
        .ok_or_else(|| format!("{api_version} {kind} is not accepted as protobuf here: send application/json"))?;
    let raw = STANDARD.decode(envelope["raw"].as_str().unwrap_or_default()).map_err(|error| error.to_string())?;
    let mut object = message(&raw, fields, 0)?;
    // JSON in it may be as deep again.
    if depth(&object) > DEEPEST + 20 {
        return Err("the protobuf body is nested too deeply".to_owned());
    }
    object["apiVersion"] = api_version.into();
    object["kind"] = kind.into();
    Ok(object)
}

/// Reads one message that lies in `level` others.
fn message(mut rest: &[u8], fields: Fields, level: usize) -> Result<Value, String> {
    if level > DEEPEST {
        return Err("the protobuf body is nested too deeply".to_owned());
    }
    let mut object = Map::new();
    while !rest.is_empty() {
        let tag = varint(&mut rest)?;
        let (number, wire) = (tag >> 3, tag & 7);
        let Some((_, name, shape)) = fields.iter().find(|(known, ..)| *known == number) else {
            return Err(format!("unknown protobuf field {number}: send application/json"));
        };
        match (wire, shape) {
            (0, Integer) => insert(&mut object, name, varint(&mut rest)?.cast_signed().into(), |value| value == 0),
            (0, OptionalInteger) => insert(&mut object, name, varint(&mut rest)?.cast_signed().into(), |_| false),
            (0, Boolean) => insert(&mut object, name, (varint(&mut rest)? != 0).into(), |_| false),
            (0, Flag) => insert(&mut object, name, (varint(&mut rest)? != 0).into(), |value| value == false),
            (1, Number) => insert(&mut object, name, number_of(&mut rest)?, |_| false),
            (2, _) => {
                let bytes = length_delimited(&mut rest)?;
                field(&mut object, name, *shape, bytes, level + 1)?;
            }
            _ => return Err(format!("protobuf field {name} has wire type {wire}")),
        }
    }
    Ok(Value::Object(object))
}

fn field(object: &mut Map<String, Value>, name: &str, shape: Shape, bytes: &[u8], level: usize) -> Result<(), String> {
    match shape {
        Text => insert(object, name, text(bytes)?.into(), |value| value == ""),
        OptionalText => insert(object, name, text(bytes)?.into(), |_| false),
        Bytes => insert(object, name, STANDARD.encode(bytes).into(), |_| false),
        Time => insert(object, name, time(bytes, false)?, Value::is_null),
        MicroTime => insert(object, name, time(bytes, true)?, Value::is_null),
        Message(fields) => {
            insert(object, name, message(bytes, fields, level)?, |value| value.as_object().is_some_and(Map::is_empty))
        }
        Optional(fields) => insert(object, name, message(bytes, fields, level)?, |_| false),
        Folded(fields, fold) => insert(object, name, fold(message(bytes, fields, level)?), Value::is_null),
        Json => insert(object, name, json(bytes)?, |_| false),
        Texts => push(object, name, text(bytes)?.into()),
        Messages(fields) => push(object, name, message(bytes, fields, level)?),
        Jsons => push(object, name, json(bytes)?),
        TextMap => entry(object, name, bytes, Text, level)?,
        BytesMap => entry(object, name, bytes, Bytes, level)?,
        TextsMap => entry(object, name, bytes, Texts, level)?,
        MessageMap(fields) => entry(object, name, bytes, Optional(fields), level + 1)?,
        FoldedMap(fields, fold) => entry(object, name, bytes, Folded(fields, fold), level + 1)?,
        Dropped => {}
        Integer | OptionalInteger | Boolean | Flag | Number => {
            return Err(format!("protobuf field {name} is not a number"));
        }
    }
    Ok(())
}

fn insert(object: &mut Map<String, Value>, name: &str, value: Value, empty: impl Fn(&Value) -> bool) {
    if !empty(&value) {
        object.insert(name.to_owned(), value);
    }
}

fn push(object: &mut Map<String, Value>, name: &str, value: Value) {
    if let Some(list) = object.entry(name).or_insert_with(|| Value::Array(Vec::new())).as_array_mut() {
        list.push(value);
    }
}

/// One entry of a map: a message of key (1) and value (2).
fn entry(
    object: &mut Map<String, Value>,
    name: &str,
    mut bytes: &[u8],
    shape: Shape,
    level: usize,
) -> Result<(), String> {
    let (mut key, mut value) = (String::new(), Value::String(String::new()));
    while !bytes.is_empty() {
        let tag = varint(&mut bytes)?;
        let content = length_delimited(&mut bytes)?;
        match (tag, shape) {
            (0x0a, _) => key = text(content)?,
            (0x12, Bytes) => value = STANDARD.encode(content).into(),
            (0x12, Texts) => value = message(content, &[(1, "items", Texts)], level)?["items"].take(),
            (0x12, Optional(fields)) => value = message(content, fields, level)?,
            (0x12, Folded(fields, fold)) => value = fold(message(content, fields, level)?),
            (0x12, _) => value = text(content)?.into(),
            _ => return Err(format!("protobuf field {name} is not a map")),
        }
    }
    if let Some(map) = object.entry(name).or_insert_with(|| Value::Object(Map::new())).as_object_mut() {
        map.insert(key, value);
    }
    Ok(())
}

/// The JSON in a message whose only field holds its bytes.
fn json(bytes: &[u8]) -> Result<Value, String> {
    let mut rest = bytes;
    let mut raw: &[u8] = b"null";
    while !rest.is_empty() {
        match varint(&mut rest)? {
            0x0a => raw = length_delimited(&mut rest)?,
            _ => return Err("a JSON value in the protobuf body cannot be read".to_owned()),
        }
    }
    serde_json::from_slice(raw).map_err(|error| format!("a JSON value in the protobuf body cannot be read: {error}"))
}

/// A double, as a whole number where it is one: so Go writes it.
fn number_of(rest: &mut &[u8]) -> Result<Value, String> {
    let (bytes, tail) = rest.split_first_chunk::<8>().ok_or("the protobuf body is cut off")?;
    *rest = tail;
    let number = f64::from_le_bytes(*bytes);
    let text = number.to_string();
    let whole = text.parse::<i64>().ok().map(Value::from);
    whole
        .or_else(|| serde_json::Number::from_f64(number).map(Value::Number))
        .ok_or_else(|| format!("a number in the protobuf body is {text}"))
}

/// How many values lie in each other.
fn depth(value: &Value) -> usize {
    match value {
        Value::Array(list) => 1 + list.iter().map(depth).max().unwrap_or(0),
        Value::Object(map) => 1 + map.values().map(depth).max().unwrap_or(0),
        _ => 0,
    }
}

fn text(bytes: &[u8]) -> Result<String, String> {
    String::from_utf8(bytes.to_vec()).map_err(|_bad| "a text in the protobuf body is not UTF-8".to_owned())
}

/// RFC 3339, or null for Go's zero time.
fn time(mut bytes: &[u8], micros: bool) -> Result<Value, String> {
    let (mut seconds, mut nanoseconds) = (0, 0);
    while !bytes.is_empty() {
        match varint(&mut bytes)? {
            0x08 => seconds = varint(&mut bytes)?.cast_signed(),
            0x10 => nanoseconds = varint(&mut bytes)?.cast_signed(),
            _ => return Err("a time in the protobuf body cannot be read".to_owned()),
        }
    }
    if seconds == 0 && nanoseconds == 0 {
        return Ok(Value::Null);
    }
    let out_of_range = |_error| "a time in the protobuf body is out of range".to_owned();
    let nanoseconds =
        i32::try_from(nanoseconds).map_err(|_error| "a time in the protobuf body is out of range".to_owned())?;
    let at = jiff::Timestamp::new(seconds, if micros { nanoseconds } else { 0 }).map_err(out_of_range)?;
    Ok(if micros { format!("{at:.6}") } else { at.to_string() }.into())
}

fn varint(rest: &mut &[u8]) -> Result<u64, String> {
    let mut value = 0_u64;
    for shift in (0..64).step_by(7) {
        let (first, tail) = rest.split_first().ok_or("the protobuf body is cut off")?;
        *rest = tail;
        value |= u64::from(first & 0x7f) << shift;
        if first & 0x80 == 0 {
            return Ok(value);
        }
    }
    Err("a number in the protobuf body is too long".to_owned())
}

fn length_delimited<'a>(rest: &mut &'a [u8]) -> Result<&'a [u8], String> {
    let length = usize::try_from(varint(rest)?).map_err(|_big| "the protobuf body is cut off")?;
    let (content, tail) = rest.split_at_checked(length).ok_or("the protobuf body is cut off")?;
    *rest = tail;
    Ok(content)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn definition_schema() -> Fields {
        &definition::SCHEMA
    }

    /// A length-delimited field.
    fn delimited(number: u8, content: &[u8]) -> Vec<u8> {
        let length = u8::try_from(content.len()).expect("a short test value");
        [&[number << 3 | 2, length], content].concat()
    }

    fn body(api_version: &str, kind: &str, raw: &[u8]) -> Vec<u8> {
        let type_meta = [delimited(1, api_version.as_bytes()), delimited(2, kind.as_bytes())].concat();
        [MAGIC.to_vec(), delimited(1, &type_meta), delimited(2, raw), delimited(3, b""), delimited(4, b"")].concat()
    }

    #[test]
    fn a_secret_reads_as_its_json() {
        let metadata = [delimited(1, b"a"), delimited(2, b""), delimited(3, b"default"), delimited(8, b"")].concat();
        let data = [delimited(1, b"key"), delimited(2, &[0xff, 0x00])].concat();
        let raw = [delimited(1, &metadata), delimited(2, &data), delimited(3, b"Opaque")].concat();
        assert_eq!(
            decode(&body("v1", "Secret", &raw)),
            Ok(json!({"apiVersion": "v1", "kind": "Secret", "type": "Opaque", "data": {"key": "/wA="},
                "metadata": {"name": "a", "namespace": "default"}}))
        );
    }

    #[test]
    fn a_definition_reads_as_its_json() {
        let text = |number: u8, text: &str| delimited(number, text.as_bytes());
        let long = |number: u64, content: &[u8]| {
            let mut out = Vec::new();
            for mut value in [number << 3 | 2, u64::try_from(content.len()).expect("short")] {
                while value > 0x7f {
                    out.push(u8::try_from(value & 0x7f | 0x80).expect("a byte"));
                    value >>= 7;
                }
                out.push(u8::try_from(value).expect("a byte"));
            }
            [out, content.to_vec()].concat()
        };
        let entry = |key: &str, schema: &[u8]| long(29, &[text(1, key), delimited(2, schema)].concat());
        // minimum 1.5, maxLength 0, default {"a":1}, and what Go writes without asking: no title, not nullable.
        let number =
            [vec![0x59], 1.5_f64.to_le_bytes().to_vec(), vec![0x68, 0x00], text(7, ""), vec![0xa8, 0x02, 0x00]]
                .concat();
        let preset = delimited(8, &text(1, r#"{"a":1}"#));
        let items = long(24, &delimited(1, &text(5, "string")));
        let closed = long(30, &[0x08, 0x00]);
        let open = long(30, &[vec![0x08, 0x01], delimited(2, &text(5, "integer"))].concat());
        let schema = [
            text(5, "object"),
            entry("number", &number),
            entry("preset", &preset),
            entry("list", &items),
            entry("closed", &closed),
            entry("open", &open),
            entry("empty", b""),
        ]
        .concat();
        let subresources = delimited(5, &delimited(1, b""));
        let version =
            [text(1, "v1"), vec![0x10, 0x01, 0x18, 0x00, 0x38, 0x00], long(4, &long(1, &schema)), subresources]
                .concat();
        let raw = long(2, &[text(1, "example.com"), long(7, &version), vec![0x50, 0x00]].concat());
        let type_meta = [text(1, "apiextensions.k8s.io/v1"), text(2, "CustomResourceDefinition")].concat();
        let body = [MAGIC.to_vec(), delimited(1, &type_meta), long(2, &raw)].concat();
        let expected = json!({
            "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
            "spec": {"group": "example.com", "versions": [{
                "name": "v1", "served": true, "storage": false, "subresources": {"status": {}},
                "schema": {"openAPIV3Schema": {"type": "object", "properties": {
                    "number": {"minimum": 1.5, "maxLength": 0},
                    "preset": {"default": {"a": 1}},
                    "list": {"items": {"type": "string"}},
                    "closed": {"additionalProperties": false},
                    "open": {"additionalProperties": {"type": "integer"}},
                    "empty": {},
                }}},
            }]},
        });
        assert_eq!(decode(&body), Ok(expected));
    }

    #[test]
    fn a_number_behind_a_pointer_is_kept_when_it_is_0() {
        let spec = delimited(2, &[0x28, 0x00]);
        let read = decode(&body("coordination.k8s.io/v1", "Lease", &spec)).expect("a Lease");
        assert_eq!(read["spec"], json!({"leaseTransitions": 0}));
    }

    #[test]
    fn what_is_nested_too_deeply_is_refused() {
        // Schemas in `not` of schemas, each one a tag of two bytes and a length.
        let mut schema = Vec::new();
        for _ in 0..40 {
            schema = [&[0xe2, 0x01, u8::try_from(schema.len()).expect("short")], schema.as_slice()].concat();
        }
        assert!(message(&schema, definition_schema(), DEEPEST - 50).is_ok());
        let error = message(&schema, definition_schema(), DEEPEST - 30).expect_err("too deep");
        assert!(error.contains("too deeply"), "{error}");
    }

    #[test]
    fn a_time_reads_as_rfc_3339() {
        let metadata = delimited(8, &[0x08, 0x80, 0xa0, 0xb2, 0xc8, 0x06]);
        let read = decode(&body("v1", "ConfigMap", &delimited(1, &metadata))).expect("a ConfigMap");
        assert_eq!(read["metadata"]["creationTimestamp"], "2025-11-06T12:09:36Z");
    }

    #[test]
    fn what_cannot_be_read_whole_is_refused() {
        let pod = body("v1", "Pod", b"");
        let unknown = body("v1", "ConfigMap", &delimited(15, b"x"));
        let cut = &body("v1", "ConfigMap", &delimited(1, b"abc"))[..20];
        for (bytes, why) in
            [(b"{}".as_slice(), "prefix"), (&pod, "application/json"), (&unknown, "field 15"), (cut, "cut off")]
        {
            let error = decode(bytes).expect_err("refused");
            assert!(error.contains(why), "{error}");
        }
    }
}
