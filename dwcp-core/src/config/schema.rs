//! The JSON Schema of the configuration, for editors. Made from the same list of fields as the loader.

use schemars::generate::SchemaSettings;
use schemars::{Schema, json_schema};
use serde_json::{Map, Value, json};

use super::keys::{Config, Mode};

/// The JSON Schema (draft 7, which editors know best).
pub fn schema() -> Value {
    let root = SchemaSettings::draft07().into_generator().into_root_schema_for::<Config>();
    let mut value = root.to_value();
    if let Some(object) = value.as_object_mut() {
        object.insert("title".into(), json!("DWCP 3 node"));
    }
    value
}

/// Gathers the properties of one section.
pub(crate) struct ObjectSchema {
    text: String,
    properties: Map<String, Value>,
    required: Vec<Value>,
}

impl ObjectSchema {
    pub(crate) fn new(text: &str) -> Self {
        Self { text: text.trim().to_owned(), properties: Map::new(), required: Vec::new() }
    }

    pub(crate) fn property(
        &mut self,
        key: &str,
        subschema: Schema,
        text: &str,
        range: Option<(Value, Value)>,
        defaults: &[Value],
    ) {
        let mut text = text.trim().to_owned();
        let mut object = match subschema.to_value() {
            Value::Object(object) => object,
            other => Map::from_iter([("allOf".to_owned(), json!([other]))]),
        };
        // Draft 7 ignores what stands beside a $ref.
        if let Some(reference) = object.remove("$ref") {
            object.insert("allOf".into(), json!([{ "$ref": reference }]));
        }
        if let Some((low, high)) = range {
            if low.is_number() {
                object.insert("minimum".into(), low);
                object.insert("maximum".into(), high);
            } else if let (Some(low), Some(high)) = (low.as_str(), high.as_str()) {
                text.push_str(&format!(" From {low} to {high}."));
            }
        }
        if defaults.is_empty() {
            self.required.push(key.into());
        } else if let Some(words) = default_words(defaults) {
            text.push_str(&words);
        } else if is_scalar(&defaults[0]) {
            object.insert("default".into(), defaults[0].clone());
        }
        object.insert("description".into(), text.into());
        self.properties.insert(key.to_owned(), object.into());
    }

    pub(crate) fn finish(self) -> Schema {
        let mut schema = json_schema!({
            "type": "object",
            "description": self.text,
            "properties": self.properties,
            "additionalProperties": false,
        });
        if !self.required.is_empty() {
            schema.insert("required".into(), self.required.into());
        }
        schema
    }
}

fn is_scalar(value: &Value) -> bool {
    !matches!(value, Value::Null | Value::Array(_) | Value::Object(_))
}

/// The defaults in words when they differ by mode.
fn default_words(defaults: &[Value]) -> Option<String> {
    if defaults.iter().any(|value| !is_scalar(value))
        || defaults.windows(2).all(|pair| pair[0] == pair[1])
    {
        return None;
    }
    let words: Vec<_> = Mode::ALL
        .into_iter()
        .zip(defaults)
        .map(|(mode, value)| format!("{value} ({})", mode.name()))
        .collect();
    Some(format!(" Default: {}.", words.join(", ")))
}
