//! Tables as kubectl prints them: no lines, three spaces between columns.

use comfy_table::{ContentArrangement, Table, TableStyle};

use crate::cli::render::visible;

/// The text of a table.
pub(crate) fn table(headers: Option<&[&str]>, rows: &[Vec<String>]) -> String {
    let mut table = Table::new();
    table
        .load_style(TableStyle::new())
        .set_content_arrangement(ContentArrangement::Disabled);
    if let Some(headers) = headers {
        table.set_header(headers);
    }
    for row in rows {
        table.add_row(row.iter().map(|cell| visible(cell)));
    }
    for column in table.column_iter_mut() {
        column.set_padding((0, 3));
    }
    table
        .lines()
        .map(|line| line.trim_end().to_owned())
        .collect::<Vec<_>>()
        .join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_their_widest_cell_and_three_spaces_apart() {
        let rows = vec![
            vec!["web".to_owned(), "1/1".to_owned()],
            vec!["a-long-name".to_owned(), "0/2".to_owned()],
        ];
        assert_eq!(
            table(Some(&["NAME", "READY"]), &rows),
            "NAME          READY\nweb           1/1\na-long-name   0/2"
        );
    }
}
