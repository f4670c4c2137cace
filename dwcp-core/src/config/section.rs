//! The macro that makes a struct a part of the configuration: one list of fields gives the type, its keys,
//! defaults, ranges, schema and documentation, so that they cannot drift apart.

/// `section!` for mappings that have a default for every key, `item!` for list items and the root.
macro_rules! section {
    ($mode:ident; $(#[doc = $doc:literal])* pub struct $name:ident { $(
        $(#[doc = $field_doc:literal])*
        $key:literal $field:ident: $type:ty $([$low:expr, $high:expr])? = $default:expr;
    )* }) => {
        $crate::config::section::item! {
            $mode; $(#[doc = $doc])* pub struct $name { $(
                $(#[doc = $field_doc])*
                $key $field: $type $([$low, $high])? = $default;
            )* }
        }

        impl $name {
            /// What holds when no key is given.
            #[allow(clippy::needless_pass_by_value, reason = "one signature for all sections")]
            pub fn defaults($mode: $crate::config::Mode) -> Self {
                let _ = $mode;
                Self { $($field: $default),* }
            }
        }
    };
}

macro_rules! item {
    ($mode:ident; $(#[doc = $doc:literal])* $vis:vis struct $name:ident { $(
        $(#[doc = $field_doc:literal])*
        $key:literal $field:ident: $type:ty $([$low:expr, $high:expr])? $(= $default:expr)?;
    )* }) => {
        $(#[doc = $doc])*
        #[derive(Clone, Debug, PartialEq, serde::Serialize)]
        $vis struct $name { $(
            $(#[doc = $field_doc])*
            #[serde(rename = $key, skip_serializing_if = "crate::config::setting::Setting::is_unset")]
            $vis $field: $type,
        )* }

        impl $crate::config::setting::Setting for $name {
            const TAKES_NULL: bool = true;

            fn read(
                node: &$crate::config::spanned::Node,
                reader: &mut $crate::config::reader::Reader<'_>,
            ) -> Option<Self> {
                let entries = reader.entries(node)?;
                reader.check_keys(entries, &[$($key),*]);
                let $mode = reader.mode;
                let _ = $mode;
                $(
                    let $field: Option<$type> =
                        $crate::config::section::read!(node, reader, entries, $key, [$($default)?]);
                    $(reader.check_range::<$type>($key, $field.as_ref(), &$low, &$high);)?
                )*
                Some(Self { $($field: $field?),* })
            }

            fn placeholder(reader: &$crate::config::reader::Reader<'_>) -> Option<Self> {
                let $mode = reader.mode;
                let _ = $mode;
                Some(Self { $(
                    $field: $crate::config::section::stand_in!(reader, $type, [$($default)?])
                ),* })
            }

            fn kind() -> String {
                format!("a mapping with {}", [$($key),*].join(", "))
            }

            fn describe(path: &str, out: &mut Vec<$crate::config::reference::KeyDoc>) {
                $(
                    let key = $crate::config::reader::join(path, $key);
                    out.push($crate::config::reference::KeyDoc {
                        path: key.clone(),
                        kind: <$type as $crate::config::setting::Setting>::kind(),
                        defaults: $crate::config::section::defaults!($mode, $type, [$($default)?]),
                        range: $crate::config::section::range!(to_string, [$($low, $high)?]),
                        text: concat!($($field_doc, "\n"),*).trim().to_owned(),
                    });
                    <$type as $crate::config::setting::Setting>::describe(&key, out);
                )*
            }
        }

        impl schemars::JsonSchema for $name {
            fn schema_name() -> std::borrow::Cow<'static, str> {
                stringify!($name).into()
            }

            fn json_schema(generator: &mut schemars::SchemaGenerator) -> schemars::Schema {
                let mut schema = $crate::config::schema::ObjectSchema::new(concat!($($doc, "\n"),*));
                $(
                    let range = $crate::config::section::range!(json, [$($low, $high)?]);
                    let defaults = $crate::config::section::defaults!($mode, $type, [$($default)?]);
                    let subschema = generator.subschema_for::<$type>();
                    let text = concat!($($field_doc, "\n"),*);
                    schema.property($key, subschema, text, range, &defaults);
                )*
                schema.finish()
            }
        }
    };
}

/// Reads a field with or without a default.
macro_rules! read {
    ($node:ident, $reader:ident, $entries:ident, $key:literal, []) => {
        $reader.required($node, $entries, $key)
    };
    ($node:ident, $reader:ident, $entries:ident, $key:literal, [$default:expr]) => {
        $reader.field($entries, $key, || $default)
    };
}

/// A field of a placeholder.
macro_rules! stand_in {
    ($reader:ident, $type:ty, []) => {
        <$type as $crate::config::setting::Setting>::placeholder($reader)?
    };
    ($reader:ident, $type:ty, [$default:expr]) => {
        $default
    };
}

/// A field's default in each mode as JSON; empty without one.
macro_rules! defaults {
    ($mode:ident, $type:ty, []) => {
        Vec::<serde_json::Value>::new()
    };
    ($mode:ident, $type:ty, [$default:expr]) => {
        $crate::config::Mode::ALL
            .map(|$mode| {
                let _ = $mode;
                let value: $type = $default;
                serde_json::to_value(value).unwrap_or_default()
            })
            .to_vec()
    };
}

/// A field's range as text or JSON.
macro_rules! range {
    ($form:ident, []) => {
        None
    };
    (to_string, [$low:expr, $high:expr]) => {
        Some(($low.to_string(), $high.to_string()))
    };
    (json, [$low:expr, $high:expr]) => {
        Some((serde_json::json!($low), serde_json::json!($high)))
    };
}

pub(crate) use {defaults, item, range, read, section, stand_in};
