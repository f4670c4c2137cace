//! The configuration: one spanned tree that is validated and deserialised.
