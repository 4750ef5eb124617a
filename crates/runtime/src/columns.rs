//! Rows as columns, for statements that insert or update many rows by `unnest`.

/// The rows as one `Vec` for each expression: what `unnest` takes, so that a statement does not grow with the batch.
///
/// ```
/// let words = ["one", "three"];
/// let columns = runtime::columns!(words => |word| *word, word.len());
/// assert_eq!(columns, (vec!["one", "three"], vec![3, 5]));
/// ```
#[macro_export]
macro_rules! columns {
    ($rows:expr => |$row:pat_param| $($value:expr),+ $(,)?) => {
        ($($rows
            .iter()
            .map(|row| {
                // A pattern may name parts that only another column uses.
                #[allow(unused_variables)]
                let $row = row;
                $value
            })
            .collect::<Vec<_>>(),)+)
    };
}
