//! JSON from outside, such as requests, messages and answers: what `serde_json` reads, but a struct is an object.
//!
//! Derived deserializers also take an array for a struct: `[5]` is read as `{"quantity": 5}`. Nobody means that, and a
//! new member would change what every position says. [`Objects`] refuses it at any depth. It cannot see into what serde
//! buffers: the fields of a `flatten`, and of an enum that is untagged or tagged by one of its members.

use std::fmt;

use serde::de::{
    Deserialize, DeserializeSeed, Deserializer, EnumAccess, MapAccess, SeqAccess, VariantAccess, Visitor,
};

/// Reads one JSON text, to its end.
pub fn from_slice<'de, T: Deserialize<'de>>(json: &'de [u8]) -> serde_json::Result<T> {
    read(serde_json::Deserializer::from_slice(json))
}

/// Reads one JSON text, to its end.
pub fn from_str<'de, T: Deserialize<'de>>(json: &'de str) -> serde_json::Result<T> {
    read(serde_json::Deserializer::from_str(json))
}

fn read<'de, R, T>(mut deserializer: serde_json::Deserializer<R>) -> serde_json::Result<T>
where
    R: serde_json::de::Read<'de>,
    T: Deserialize<'de>,
{
    let value = T::deserialize(Objects(&mut deserializer))?;
    deserializer.end()?;
    Ok(value)
}

/// A deserializer that takes nothing but an object for a struct. It also wraps each visitor, seed and access on the way
/// to the structs inside.
#[derive(Debug, Clone, Copy)]
pub struct Objects<T>(pub T);

macro_rules! forward_deserialize {
    ($($method:ident($($argument:ident: $type:ty),*))*) => {
        $(fn $method<V: Visitor<'de>>(self, $($argument: $type,)* visitor: V) -> Result<V::Value, D::Error> {
            self.0.$method($($argument,)* Objects(visitor))
        })*
    };
}

impl<'de, D: Deserializer<'de>> Deserializer<'de> for Objects<D> {
    type Error = D::Error;

    /// As a map, which is never a sequence.
    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        _fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, D::Error> {
        self.0.deserialize_map(Objects(visitor))
    }

    forward_deserialize! {
        deserialize_any() deserialize_bool()
        deserialize_i8() deserialize_i16() deserialize_i32() deserialize_i64() deserialize_i128()
        deserialize_u8() deserialize_u16() deserialize_u32() deserialize_u64() deserialize_u128()
        deserialize_f32() deserialize_f64() deserialize_char() deserialize_str() deserialize_string()
        deserialize_bytes() deserialize_byte_buf() deserialize_option() deserialize_unit()
        deserialize_seq() deserialize_map() deserialize_identifier() deserialize_ignored_any()
        deserialize_unit_struct(name: &'static str)
        deserialize_newtype_struct(name: &'static str)
        deserialize_tuple(len: usize)
        deserialize_tuple_struct(name: &'static str, len: usize)
        deserialize_enum(name: &'static str, variants: &'static [&'static str])
    }

    fn is_human_readable(&self) -> bool {
        self.0.is_human_readable()
    }
}

macro_rules! forward_visit {
    ($($method:ident($($type:ty)?))*) => {
        $(fn $method<E: serde::de::Error>(self $(, value: $type)?) -> Result<V::Value, E> {
            self.0.$method($({ let value: $type = value; value })?)
        })*
    };
}

impl<'de, V: Visitor<'de>> Visitor<'de> for Objects<V> {
    type Value = V::Value;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.expecting(formatter)
    }

    forward_visit! {
        visit_bool(bool) visit_i64(i64) visit_i128(i128) visit_u64(u64) visit_u128(u128) visit_f64(f64)
        visit_str(&str) visit_borrowed_str(&'de str) visit_string(String)
        visit_bytes(&[u8]) visit_borrowed_bytes(&'de [u8]) visit_byte_buf(Vec<u8>)
        visit_none() visit_unit()
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<V::Value, D::Error> {
        self.0.visit_some(Objects(deserializer))
    }

    fn visit_newtype_struct<D: Deserializer<'de>>(self, deserializer: D) -> Result<V::Value, D::Error> {
        self.0.visit_newtype_struct(Objects(deserializer))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, items: A) -> Result<V::Value, A::Error> {
        self.0.visit_seq(Objects(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, members: A) -> Result<V::Value, A::Error> {
        self.0.visit_map(Objects(members))
    }

    fn visit_enum<A: EnumAccess<'de>>(self, variant: A) -> Result<V::Value, A::Error> {
        self.0.visit_enum(Objects(variant))
    }
}

impl<'de, S: DeserializeSeed<'de>> DeserializeSeed<'de> for Objects<S> {
    type Value = S::Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<S::Value, D::Error> {
        self.0.deserialize(Objects(deserializer))
    }
}

impl<'de, A: SeqAccess<'de>> SeqAccess<'de> for Objects<A> {
    type Error = A::Error;

    fn next_element_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<Option<S::Value>, A::Error> {
        self.0.next_element_seed(Objects(seed))
    }

    fn size_hint(&self) -> Option<usize> {
        self.0.size_hint()
    }
}

impl<'de, A: MapAccess<'de>> MapAccess<'de> for Objects<A> {
    type Error = A::Error;

    /// A key is text, and holds no struct.
    fn next_key_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<Option<S::Value>, A::Error> {
        self.0.next_key_seed(seed)
    }

    fn next_value_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<S::Value, A::Error> {
        self.0.next_value_seed(Objects(seed))
    }

    fn size_hint(&self) -> Option<usize> {
        self.0.size_hint()
    }
}

impl<'de, A: EnumAccess<'de>> EnumAccess<'de> for Objects<A> {
    type Error = A::Error;
    type Variant = Objects<A::Variant>;

    fn variant_seed<S: DeserializeSeed<'de>>(self, seed: S) -> Result<(S::Value, Self::Variant), A::Error> {
        let (name, data) = self.0.variant_seed(seed)?;
        Ok((name, Objects(data)))
    }
}

impl<'de, A: VariantAccess<'de>> VariantAccess<'de> for Objects<A> {
    type Error = A::Error;

    fn unit_variant(self) -> Result<(), A::Error> {
        self.0.unit_variant()
    }

    fn newtype_variant_seed<S: DeserializeSeed<'de>>(self, seed: S) -> Result<S::Value, A::Error> {
        self.0.newtype_variant_seed(Objects(seed))
    }

    fn tuple_variant<V: Visitor<'de>>(self, len: usize, visitor: V) -> Result<V::Value, A::Error> {
        self.0.tuple_variant(len, Objects(visitor))
    }

    /// In JSON the fields of a variant stand where the value of a newtype does.
    fn struct_variant<V: Visitor<'de>>(
        self,
        _fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, A::Error> {
        self.0.newtype_variant_seed(Fields(visitor))
    }
}

struct Fields<V>(V);

impl<'de, V: Visitor<'de>> DeserializeSeed<'de> for Fields<V> {
    type Value = V::Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<V::Value, D::Error> {
        deserializer.deserialize_map(Objects(self.0))
    }
}

#[cfg(test)]
mod tests {
    use std::{borrow::Cow, collections::BTreeMap, fmt::Debug};

    use serde::de::DeserializeOwned;
    use serde_json::{Value, json, value::RawValue};

    use super::*;

    #[derive(Debug, PartialEq, serde::Deserialize)]
    struct Line {
        quantity: u32,
    }

    #[derive(Debug, PartialEq, serde::Deserialize)]
    struct Newtype(Line);

    #[derive(Debug, PartialEq, serde::Deserialize)]
    enum Shape {
        Point,
        Newtype(Line),
        Tuple(u8, Line),
        Struct { line: Line },
    }

    #[derive(Debug, PartialEq, serde::Deserialize)]
    struct Borrowed<'a> {
        #[serde(borrow)]
        text: Cow<'a, str>,
    }

    /// The text with an object for the line is read; with an array for it `serde_json` reads it, and this crate does not.
    fn check<T: DeserializeOwned + PartialEq + Debug>(text: &str) {
        let object = text.replace("LINE", r#"{"quantity":5}"#);
        let array = text.replace("LINE", "[5]");
        let expected: T = serde_json::from_str(&array).expect("serde_json takes the array");
        assert_eq!(from_str::<T>(&object).expect(&object), expected);
        let error = from_slice::<T>(array.as_bytes()).expect_err(&array).to_string();
        assert!(error.contains("invalid type: sequence, expected struct"), "{error}");
    }

    #[test]
    fn an_array_is_no_struct_at_any_depth() {
        check::<Line>("LINE");
        check::<Newtype>("LINE");
        check::<Vec<Line>>("[LINE]");
        check::<Option<Line>>("LINE");
        check::<(u8, Line)>("[1,LINE]");
        check::<BTreeMap<u8, Vec<Option<Line>>>>(r#"{"1":[LINE,null]}"#);
        check::<Shape>(r#"{"Newtype":LINE}"#);
        check::<Shape>(r#"{"Tuple":[1,LINE]}"#);
        check::<Shape>(r#"{"Struct":{"line":LINE}}"#);
    }

    #[test]
    fn an_array_is_no_variant_with_fields() {
        let array = r#"{"Struct":[{"quantity":5}]}"#;
        assert!(serde_json::from_str::<Shape>(array).is_ok());
        assert!(from_str::<Shape>(array).is_err());
    }

    #[test]
    fn everything_else_is_what_serde_json_reads() {
        let text = r#"{"a":[1,-2,2.5,"x\n",null,true,{"b":[]}]}"#;
        assert_eq!(
            from_str::<Value>(text).expect(text),
            json!({"a": [1, -2, 2.5, "x\n", null, true, {"b": []}]})
        );
        assert_eq!(from_str::<Shape>(r#""Point""#).expect("a variant"), Shape::Point);
        assert_eq!(from_str::<(u8, String)>(r#"[1,"x"]"#).expect("a tuple"), (1, "x".to_owned()));
        let borrowed: Borrowed<'_> = from_str(r#"{"text":"x","more":[1]}"#).expect("text");
        assert!(matches!(borrowed.text, Cow::Borrowed("x")));
        assert_eq!(from_str::<&RawValue>("[1, 2]").expect("raw").get(), "[1, 2]");
        assert!(from_str::<Line>(r#"{"quantity":5} x"#).expect_err("more follows").is_syntax());
        assert!(from_str::<Line>(r#"{"quantity":"#).expect_err("it is cut off").is_eof());
    }
}
