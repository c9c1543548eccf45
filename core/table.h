#pragma once
// Plain text tables for terminals: columns aligned, widths by displayed characters.

#include <string>
#include <vector>

namespace lancet {

class Table {
 public:
  enum class Align { kLeft, kRight };
  struct Column {
    std::string title;
    Align align = Align::kLeft;
  };
  explicit Table(std::vector<Column> columns);
  void add(std::vector<std::string> row);
  /// Lines end in '\n'; empty string when there is no row.
  [[nodiscard]] std::string text() const;

 private:
  std::vector<Column> columns_;
  std::vector<std::vector<std::string>> rows_;
};

}  // namespace lancet
