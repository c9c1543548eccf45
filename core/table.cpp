#include "core/table.h"

#include <algorithm>
#include <limits>
#include <string_view>
#include <utility>

#include <fmt/format.h>
#include <utf8proc.h>

#include "core/error.h"
#include "core/text.h"

namespace lancet {
namespace {

constexpr std::string_view kGap = "  ";

/// Terminal columns that valid UTF-8 text takes.
std::size_t display_width(std::string_view text) {
  std::size_t width = 0;
  for (std::size_t at = 0; at < text.size();) {
    const auto code_point = static_cast<utf8proc_int32_t>(next_code_point(text, at));
    width += static_cast<std::size_t>(std::max(0, utf8proc_charwidth(code_point)));
  }
  return width;
}

std::string one_line(std::string_view text) {
  return printable(text, std::numeric_limits<std::size_t>::max());
}

}  // namespace

Table::Table(std::vector<Column> columns) : columns_(std::move(columns)) {
  for (Column& column : columns_) column.title = one_line(column.title);
}

void Table::add(std::vector<std::string> row) {
  if (row.size() > columns_.size()) {
    fail(ErrorKind::kInternal, "table",
         fmt::format("a row of {} cells in a table of {} columns", row.size(), columns_.size()));
  }
  row.resize(columns_.size());
  for (std::string& cell : row) cell = one_line(cell);
  rows_.push_back(std::move(row));
}

std::string Table::text() const {
  if (rows_.empty()) return {};
  std::vector<std::string> titles;
  std::vector<std::size_t> widths;
  for (std::size_t c = 0; c < columns_.size(); ++c) {
    titles.push_back(columns_[c].title);
    widths.push_back(display_width(titles.back()));
    for (const auto& row : rows_) widths[c] = std::max(widths[c], display_width(row[c]));
  }
  std::string out;
  const auto put = [&](const std::vector<std::string>& row) {
    std::string line;
    for (std::size_t c = 0; c < row.size(); ++c) {
      const std::string pad(widths[c] - display_width(row[c]), ' ');
      if (c > 0) line += kGap;
      line += columns_[c].align == Align::kLeft ? row[c] + pad : pad + row[c];
    }
    line.erase(line.find_last_not_of(' ') + 1);
    out += line + '\n';
  };
  const auto is_empty = [](const std::string& title) { return title.empty(); };
  if (!std::all_of(titles.begin(), titles.end(), is_empty)) put(titles);
  for (const auto& row : rows_) put(row);
  return out;
}

}  // namespace lancet
