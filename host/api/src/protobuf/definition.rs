//! CustomResourceDefinition: the messages of k8s.io/apiextensions-apiserver's generated.proto.

use serde_json::Value;

use super::Fields;
use super::Shape::{
    Boolean, Bytes, Flag, Folded, FoldedMap, Integer, Json, Jsons, Message, MessageMap, Messages, Number, Optional,
    OptionalInteger, OptionalText, Text, Texts, Time,
};
use super::kinds::METADATA;

const NAMES: Fields = &[
    (1, "plural", Text),
    (2, "singular", Text),
    (3, "shortNames", Texts),
    (4, "kind", Text),
    (5, "listKind", Text),
    (6, "categories", Texts),
];
const CONVERSION: Fields = &[
    (1, "strategy", Text),
    (
        2,
        "webhook",
        Optional(&[
            (
                2,
                "clientConfig",
                Optional(&[
                    (
                        1,
                        "service",
                        Optional(&[
                            (1, "namespace", Text),
                            (2, "name", Text),
                            (3, "path", OptionalText),
                            (4, "port", OptionalInteger),
                        ]),
                    ),
                    (2, "caBundle", Bytes),
                    (3, "url", OptionalText),
                ]),
            ),
            (3, "conversionReviewVersions", Texts),
        ]),
    ),
];
const COLUMN: Fields = &[
    (1, "name", Text),
    (2, "type", Text),
    (3, "format", Text),
    (4, "description", Text),
    (5, "priority", Integer),
    (6, "jsonPath", Text),
];
const SUBRESOURCES: Fields = &[
    (1, "status", Optional(&[])),
    (
        2,
        "scale",
        Optional(&[
            (1, "specReplicasPath", Text),
            (2, "statusReplicasPath", Text),
            (3, "labelSelectorPath", OptionalText),
        ]),
    ),
];
const VERSION: Fields = &[
    (1, "name", Text),
    (2, "served", Boolean),
    (3, "storage", Boolean),
    (4, "schema", Optional(&[(1, "openAPIV3Schema", Optional(&SCHEMA))])),
    (5, "subresources", Optional(SUBRESOURCES)),
    (6, "additionalPrinterColumns", Messages(COLUMN)),
    (7, "deprecated", Flag),
    (8, "deprecationWarning", OptionalText),
    (9, "selectableFields", Messages(&[(1, "jsonPath", Text)])),
];
const CONDITION: Fields = &[
    (1, "type", Text),
    (2, "status", Text),
    (3, "lastTransitionTime", Time),
    (4, "reason", Text),
    (5, "message", Text),
    (6, "observedGeneration", Integer),
];
/// A CustomResourceDefinition.
pub(super) const DEFINITION: Fields = &[
    (1, "metadata", Message(METADATA)),
    (
        2,
        "spec",
        Message(&[
            (1, "group", Text),
            (3, "names", Message(NAMES)),
            (4, "scope", Text),
            (7, "versions", Messages(VERSION)),
            (9, "conversion", Optional(CONVERSION)),
            (10, "preserveUnknownFields", Flag),
        ]),
    ),
    (
        3,
        "status",
        Message(&[
            (1, "conditions", Messages(CONDITION)),
            (2, "acceptedNames", Message(NAMES)),
            (3, "storedVersions", Texts),
            (4, "observedGeneration", Integer),
        ]),
    ),
];
const RULE: Fields = &[
    (1, "rule", Text),
    (2, "message", Text),
    (3, "messageExpression", Text),
    (4, "reason", OptionalText),
    (5, "fieldPath", Text),
    (6, "optionalOldSelf", Boolean),
];
/// `JSONSchemaProps`, which holds itself.
pub(super) static SCHEMA: [super::Field; 44] = [
    (1, "id", Text),
    (2, "$schema", Text),
    (3, "$ref", OptionalText),
    (4, "description", Text),
    (5, "type", Text),
    (6, "format", Text),
    (7, "title", Text),
    (8, "default", Json),
    (9, "maximum", Number),
    (10, "exclusiveMaximum", Flag),
    (11, "minimum", Number),
    (12, "exclusiveMinimum", Flag),
    (13, "maxLength", OptionalInteger),
    (14, "minLength", OptionalInteger),
    (15, "pattern", Text),
    (16, "maxItems", OptionalInteger),
    (17, "minItems", OptionalInteger),
    (18, "uniqueItems", Flag),
    (19, "multipleOf", Number),
    (20, "enum", Jsons),
    (21, "maxProperties", OptionalInteger),
    (22, "minProperties", OptionalInteger),
    (23, "required", Texts),
    (24, "items", Folded(&SCHEMA_OR_LIST, either)),
    (25, "allOf", Messages(&SCHEMA)),
    (26, "oneOf", Messages(&SCHEMA)),
    (27, "anyOf", Messages(&SCHEMA)),
    (28, "not", Optional(&SCHEMA)),
    (29, "properties", MessageMap(&SCHEMA)),
    (30, "additionalProperties", Folded(&SCHEMA_OR_BOOLEAN, either)),
    (31, "patternProperties", MessageMap(&SCHEMA)),
    (32, "dependencies", FoldedMap(&SCHEMA_OR_TEXTS, either)),
    (33, "additionalItems", Folded(&SCHEMA_OR_BOOLEAN, either)),
    (34, "definitions", MessageMap(&SCHEMA)),
    (35, "externalDocs", Optional(&[(1, "description", Text), (2, "url", Text)])),
    (36, "example", Json),
    (37, "nullable", Flag),
    (38, "x-kubernetes-preserve-unknown-fields", Boolean),
    (39, "x-kubernetes-embedded-resource", Flag),
    (40, "x-kubernetes-int-or-string", Flag),
    (41, "x-kubernetes-list-map-keys", Texts),
    (42, "x-kubernetes-list-type", OptionalText),
    (43, "x-kubernetes-map-type", OptionalText),
    (44, "x-kubernetes-validations", Messages(RULE)),
];
static SCHEMA_OR_LIST: [super::Field; 2] = [(1, "schema", Optional(&SCHEMA)), (2, "other", Messages(&SCHEMA))];
static SCHEMA_OR_BOOLEAN: [super::Field; 2] = [(1, "other", Boolean), (2, "schema", Optional(&SCHEMA))];
static SCHEMA_OR_TEXTS: [super::Field; 2] = [(1, "schema", Optional(&SCHEMA)), (2, "other", Texts)];

/// The schema if there is one, or what may stand in its place: in JSON there is one value for both.
fn either(mut both: Value) -> Value {
    if both["schema"].is_null() { both["other"].take() } else { both["schema"].take() }
}
