#include "core/table.h"

#include "tests/catch.h"
#include "tests/core/scratch.h"

using namespace lancet;

TEST_CASE("Table: columns are aligned and no line ends in blanks") {
  Table table({{"name", Table::Align::kLeft}, {"bytes", Table::Align::kRight}, {"note"}});
  table.add({"a", "1", ""});
  table.add({"longer", "12345678", "x"});
  CHECK(table.text() ==
        "name       bytes  note\n"
        "a              1\n"
        "longer  12345678  x\n");
}

TEST_CASE("Table: widths count terminal columns and not bytes") {
  Table table({{"k"}, {"v"}});
  table.add({"\xE6\x97\xA5\xE6\x9C\xAC", "wide"});  // two characters of two columns
  table.add({"e\xCC\x81", "combining"});            // one column
  table.add({"\xC3\xA9t\xC3\xA9", "three columns"});
  CHECK(table.text() ==
        "k     v\n"
        "\xE6\x97\xA5\xE6\x9C\xAC  wide\n"
        "e\xCC\x81     combining\n"
        "\xC3\xA9t\xC3\xA9   three columns\n");
}

TEST_CASE("Table: control characters in a cell cannot break the lines") {
  Table table({{"name"}});
  table.add({"a\nb\x1b[2J\xFF"});
  CHECK(table.text() == "name\na\\nb\\x1b[2J\\xff\n");
}

TEST_CASE("Table: without rows the text is empty and short rows are filled") {
  Table table({{"a"}, {"b"}});
  CHECK(table.text().empty());
  table.add({"1"});
  CHECK(table.text() == "a  b\n1\n");
  CHECK(test::error_of([&] { table.add({"1", "2", "3"}); })->kind() == ErrorKind::kInternal);
}
