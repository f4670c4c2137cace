//! `adaptive`: how hybrid mode chooses the transport.

use std::borrow::Cow;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Serialize, Serializer};

use super::Mode;
use super::codes;
use super::reader::Reader;
use super::section::{item, section};
use super::setting::{Ranged, Setting};
use super::spanned::Node;
use super::units::{Rate, Share, Time};
use super::words::words;

section! {
    mode;
    /// Choice of the transport in hybrid mode.
    pub struct Adaptive {
        /// Measuring.
        "detection" detection: Detection = Detection::defaults(mode);
        /// What speaks for RDMA. Score: weights of the criteria met, divided by all weights.
        "datacenterCriteria" datacenter_criteria: Vec<Criterion> = Criterion::datacenter();
        /// What speaks for TCP.
        "internetCriteria" internet_criteria: Vec<Criterion> = Criterion::internet();
        /// Scores at which a session moves.
        "thresholds" thresholds: Thresholds = Thresholds::defaults(mode);
        /// Moving.
        "switching" switching: Switching = Switching::defaults(mode);
    }
}

section! {
    mode;
    /// Measuring.
    pub struct Detection {
        /// Whether paths are measured and chosen by it.
        "enabled" enabled: bool = mode == Mode::Hybrid;
        /// Pause between measurements.
        "interval" interval: Time [Time::millis(10), Time::hours(1)] = Time::secs(1);
        /// How far back measurements count.
        "samplingWindow" sampling_window: Time [Time::millis(100), Time::hours(1)] = Time::secs(10);
    }
}

words! {
    /// What is measured.
    pub enum Metric {
        /// Round trip time.
        Latency "latency",
        /// What the path carries.
        Throughput "throughput",
        /// The share of packets lost.
        PacketLoss "packetLoss",
        /// Whether an RDMA path can be made.
        RdmaAvailable "rdmaAvailable",
    }
}

words! {
    /// How it is compared with the value.
    pub enum Operator {
        /// Less than the value.
        LessThan "less_than",
        /// Greater than the value.
        GreaterThan "greater_than",
        /// The value.
        Equals "equals",
    } refused {
        "lt" "the word is less_than",
        "<" "the word is less_than",
        "gt" "the word is greater_than",
        ">" "the word is greater_than",
        "eq" "the word is equals",
        "=" "the word is equals",
        "==" "the word is equals",
        "le" "only less_than is compared",
        "<=" "only less_than is compared",
        "ge" "only greater_than is compared",
        ">=" "only greater_than is compared",
    }
}

item! {
    mode;
    /// A condition and what it weighs, before its value is understood.
    pub(crate) struct RawCriterion {
        /// What is measured.
        "metric" metric: Metric;
        /// How it is compared.
        "operator" operator: Operator;
        /// With what: a duration (latency), a rate (throughput), a share (packetLoss), true or false (rdmaAvailable).
        "value" value: CriterionText;
        /// What the condition weighs among the others.
        "weight" weight: f64 [0.001, 1000.0] = 1.0;
    }
}

/// A condition and what it weighs.
#[derive(Clone, Debug, PartialEq)]
pub struct Criterion {
    /// How the metric is compared with `value`.
    pub operator: Operator,
    /// What is measured, and with what it is compared.
    pub value: CriterionValue,
    /// What the condition weighs among the others.
    pub weight: f64,
}

/// A metric's value.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum CriterionValue {
    /// Round trip time.
    Latency(Time),
    /// What the path carries.
    Throughput(Rate),
    /// The share of packets lost.
    PacketLoss(Share),
    /// Whether an RDMA path can be made.
    RdmaAvailable(bool),
}

impl CriterionValue {
    /// What is measured.
    pub fn metric(self) -> Metric {
        match self {
            Self::Latency(_) => Metric::Latency,
            Self::Throughput(_) => Metric::Throughput,
            Self::PacketLoss(_) => Metric::PacketLoss,
            Self::RdmaAvailable(_) => Metric::RdmaAvailable,
        }
    }
}

impl Criterion {
    fn new(value: CriterionValue, operator: Operator, weight: f64) -> Self {
        Self { operator, value, weight }
    }

    /// What speaks for RDMA where the file does not say.
    fn datacenter() -> Vec<Self> {
        vec![
            Self::new(CriterionValue::Latency(Time::micros(100)), Operator::LessThan, 0.4),
            Self::new(CriterionValue::Throughput(Rate::gbps(10)), Operator::GreaterThan, 0.2),
            Self::new(CriterionValue::PacketLoss(Share::new(0.001)), Operator::LessThan, 0.2),
            Self::new(CriterionValue::RdmaAvailable(true), Operator::Equals, 0.2),
        ]
    }

    /// What speaks for TCP where the file does not say.
    fn internet() -> Vec<Self> {
        vec![
            Self::new(CriterionValue::Latency(Time::millis(10)), Operator::GreaterThan, 0.4),
            Self::new(CriterionValue::PacketLoss(Share::new(0.001)), Operator::GreaterThan, 0.2),
            Self::new(CriterionValue::RdmaAvailable(false), Operator::Equals, 0.4),
        ]
    }
}

/// The value of a criterion as it stands in the file; its metric says how to read it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct CriterionText(Node);

impl Setting for CriterionText {
    fn read(node: &Node, _: &mut Reader<'_>) -> Option<Self> {
        Some(Self(node.clone()))
    }
    fn kind() -> String {
        "a duration, rate, share or bool, as the metric asks".into()
    }
}

impl Serialize for CriterionText {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0.words())
    }
}

impl JsonSchema for CriterionText {
    fn inline_schema() -> bool {
        true
    }
    fn schema_name() -> Cow<'static, str> {
        "CriterionText".into()
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": ["string", "number", "boolean"] })
    }
}

impl Setting for Criterion {
    fn read(node: &Node, reader: &mut Reader<'_>) -> Option<Self> {
        let raw = RawCriterion::read(node, reader)?;
        if reader.wrong.touches(reader.path()) {
            return None; // what the value is compared with is not known
        }
        let text = &raw.value.0;
        let value = match raw.metric {
            Metric::Latency => Time::read(text, reader).map(CriterionValue::Latency),
            Metric::Throughput => Rate::read(text, reader).map(CriterionValue::Throughput),
            Metric::PacketLoss => Share::read(text, reader).map(CriterionValue::PacketLoss),
            Metric::RdmaAvailable => bool::read(text, reader).map(CriterionValue::RdmaAvailable),
        }?;
        let wants_equals = raw.metric == Metric::RdmaAvailable;
        if (raw.operator == Operator::Equals) != wants_equals {
            let operator = node.get("operator").unwrap_or(node);
            let name = raw.metric.name();
            let message = format!("`{name}` cannot be compared with `{}`", raw.operator.name());
            let help =
                if wants_equals { "write equals" } else { "write less_than or greater_than" };
            reader.error(operator.at, codes::CRITERION_OPERATOR, message, help);
            return None;
        }
        Some(Self { operator: raw.operator, value, weight: raw.weight })
    }
    fn placeholder(_: &Reader<'_>) -> Option<Self> {
        Self::datacenter().pop()
    }
    fn kind() -> String {
        RawCriterion::kind()
    }
    fn describe(path: &str, out: &mut Vec<super::reference::KeyDoc>) {
        RawCriterion::describe(path, out);
    }
}

impl Serialize for Criterion {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        use serde::ser::SerializeStruct as _;
        let mut map = serializer.serialize_struct("Criterion", 4)?;
        map.serialize_field("metric", &self.value.metric())?;
        map.serialize_field("operator", &self.operator)?;
        match self.value {
            CriterionValue::Latency(value) => map.serialize_field("value", &value)?,
            CriterionValue::Throughput(value) => map.serialize_field("value", &value)?,
            CriterionValue::PacketLoss(value) => map.serialize_field("value", &value)?,
            CriterionValue::RdmaAvailable(value) => map.serialize_field("value", &value)?,
        }
        map.serialize_field("weight", &self.weight)?;
        map.end()
    }
}

impl JsonSchema for Criterion {
    fn schema_name() -> Cow<'static, str> {
        "Criterion".into()
    }
    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        RawCriterion::json_schema(generator)
    }
}

section! {
    mode;
    /// Scores at which a session moves.
    pub struct Thresholds {
        /// At this score of `datacenterCriteria` a session moves to RDMA.
        "datacenterScore" datacenter_score: Share = Share::new(0.7);
        /// At this score of `internetCriteria` it moves to TCP.
        "internetScore" internet_score: Share = Share::new(0.7);
        /// How much better than the current transport's the other one's score must be.
        "hysteresis" hysteresis: Share = Share::new(0.1);
    }
}

section! {
    mode;
    /// Moving.
    pub struct Switching {
        /// Least time between two moves that nothing forces.
        "cooldownPeriod" cooldown_period: Time [Time::secs(0), Time::hours(24)] = Time::secs(30);
        /// How long a path that failed must be well before sessions return to it.
        "settleTime" settle_time: Time [Time::secs(0), Time::hours(24)] = Time::secs(10);
        /// How long the old path may take to empty.
        "drainTimeout" drain_timeout: Time [Time::millis(10), Time::secs(600)] = Time::secs(10);
        /// The new path stands before the old one is left. Always so.
        "gracefulTransition" graceful_transition: AlwaysTrue = AlwaysTrue;
    }
}

/// `true`: what the key asks for cannot be switched off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AlwaysTrue;

impl Setting for AlwaysTrue {
    fn read(node: &Node, reader: &mut Reader<'_>) -> Option<Self> {
        if bool::read(node, reader)? {
            return Some(Self);
        }
        let message = format!("`{}` cannot be switched off", reader.path());
        reader.error(node.at, codes::UNSUPPORTED_VALUE, message, "write true, or delete the line");
        None
    }
    fn kind() -> String {
        "true".into()
    }
}

impl Ranged for AlwaysTrue {
    type Bound = u8;
    fn bounded(&self) -> Option<u8> {
        None
    }
}

impl Serialize for AlwaysTrue {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bool(true)
    }
}

impl JsonSchema for AlwaysTrue {
    fn inline_schema() -> bool {
        true
    }
    fn schema_name() -> Cow<'static, str> {
        "AlwaysTrue".into()
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "const": true })
    }
}
