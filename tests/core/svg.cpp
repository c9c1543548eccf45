#include "core/svg.h"

#include <cmath>
#include <vector>

#include "tests/catch.h"
#include "tests/core/scratch.h"

using namespace lancet;

namespace {

/// True if every element that opens also closes, in order (enough for what Svg writes).
bool is_balanced(std::string_view xml) {
  std::vector<std::string> open;
  for (std::size_t at = xml.find('<'); at != xml.npos; at = xml.find('<', at + 1)) {
    const std::size_t end = xml.find('>', at);
    if (end == xml.npos) return false;
    const std::string_view tag = xml.substr(at + 1, end - at - 1);
    const std::string name(tag.substr(0, tag.find(' ')));
    if (name.starts_with('/')) {
      if (open.empty() || open.back() != name.substr(1)) return false;
      open.pop_back();
    } else if (!tag.ends_with('/')) {
      open.push_back(name);
    }
  }
  return open.empty();
}

}  // namespace

TEST_CASE("viridis: the ends are the published colours and what is out of range is clamped") {
  CHECK(viridis(0) == "#440154");
  CHECK(viridis(0.5) == "#21918c");
  CHECK(viridis(1) == "#fde725");
  CHECK(viridis(-3) == viridis(0));
  CHECK(viridis(7) == viridis(1));
  CHECK(viridis(std::nan("")) == viridis(0));
}

TEST_CASE("html_escape: no markup and no control character gets through") {
  CHECK(html_escape("<a href=\"x\">'&") == "&lt;a href=&quot;x&quot;&gt;&#39;&amp;");
  CHECK(html_escape("a\x01\xFF") == "a\xEF\xBF\xBD\xEF\xBF\xBD");
  CHECK(html_escape("a\n\tb") == "a\n\tb");
}

TEST_CASE("Svg: hostile text and values that are not finite leave the document well formed") {
  Svg svg(100, 50);
  svg.rect(0, 0, std::nan(""), INFINITY, "\"/><script>", "<b>&")
      .line(0, 0, 1.005, -0.0001, "#000")
      .polyline({{0, 0}, {1.5, 2}}, "red")
      .text(1, 2, "</text><script>alert(1)</script>")
      .upright_text(1, 2, "<&");
  const std::string text = svg.str();
  CHECK(is_balanced(text));
  CHECK(text.find("<script") == std::string::npos);
  CHECK(text.find("nan") == std::string::npos);
  CHECK(text.find("inf") == std::string::npos);
  CHECK(text.find("points=\"0,0 1.5,2\"") != std::string::npos);
}

TEST_CASE("html_page: stands alone with its title escaped") {
  const std::string page = html_page("a <b>", "<p>body</p>");
  CHECK(page.starts_with("<!doctype html>"));
  CHECK(page.find("<title>a &lt;b&gt;</title>") != std::string::npos);
  CHECK(page.find("<p>body</p>") != std::string::npos);
  CHECK(page.find("http") == std::string::npos);
  CHECK(page.find("src=") == std::string::npos);
}

TEST_CASE("draw_heat_map: every cell is drawn with its value and empty cells stay empty") {
  HeatMap map{"effect <1>", {"early", "late"}, {"0", "1", "2"}, {{0, 0.5, 1}, {1, NAN, 0}}, "p"};
  const std::string text = draw_heat_map(map);
  CHECK(is_balanced(text));
  CHECK(text.find("effect &lt;1&gt;") != std::string::npos);
  CHECK(text.find("early, 1: 0.5 p") != std::string::npos);
  CHECK(text.find("late, 1: none") != std::string::npos);
  CHECK(text.find(viridis(1)) != std::string::npos);
}

TEST_CASE("draw_heat_map: equal and missing values are drawn and ragged ones are our own bug") {
  CHECK(is_balanced(draw_heat_map({"t", {"r"}, {"c"}, {{3}}, ""})));
  CHECK(is_balanced(draw_heat_map({"t", {"r"}, {"c"}, {{NAN}}, ""})));
  CHECK(is_balanced(draw_heat_map({"t", {}, {}, {}, ""})));
  const HeatMap ragged{"t", {"r"}, {"c", "d"}, {{3}}, ""};
  CHECK(test::error_of([&] { (void)draw_heat_map(ragged); })->kind() == ErrorKind::kInternal);
}
