#include "core/yaml.h"

#include <cmath>
#include <limits>
#include <utility>

#include <fmt/format.h>

#include "core/rng.h"
#include "tests/catch.h"
#include "tests/core/scratch.h"

using namespace lancet;

namespace {

std::string refusal(std::string_view text) {
  const auto error = test::error_of([&] { (void)parse_yaml(text, "r.yml"); });
  if (!error) return {};
  CHECK(error->kind() == ErrorKind::kUsage);
  return error->message();
}

Node only(std::string_view text) {
  auto documents = parse_yaml(text, "r.yml");
  REQUIRE(documents.size() == 1);
  return std::move(documents.front());
}

}  // namespace

TEST_CASE("parse_yaml: a recipe keeps its order and every node its line and column") {
  const Node root = only(
      "# a comment\n"
      "models:\n"
      "  - model: a/b\n"
      "    parameters: {weight: [0, 0.5, 1]}\n"
      "merge_method: slerp\n");
  REQUIRE(root.entries.size() == 2);
  CHECK(root.entries[0].first.scalar == "models");
  const Node& model = root.find("models")->items.at(0);
  const Node& weight = *model.find("parameters")->find("weight");
  CHECK(weight.items.size() == 3);
  CHECK(weight.line == 4);
  CHECK(weight.column == 26);
  CHECK(root.find("merge_method")->line == 5);
  CHECK(root.find("merge_method")->column == 15);
  CHECK(root.find("none") == nullptr);
}

TEST_CASE("parse_yaml: columns count characters and a byte order mark is none") {
  const Node root = only("\xEF\xBB\xBF{\xC3\xA9: \"x\", b: 'y'}\n");
  CHECK(root.entries[0].first.column == 2);
  CHECK(root.entries[0].second.column == 5);
  CHECK(root.find("b")->column == 13);
  CHECK(root.find("b")->scalar == "y");
}

TEST_CASE("parse_yaml: several documents and none at all") {
  CHECK(parse_yaml("", "r.yml").empty());
  CHECK(parse_yaml("# only a comment\n", "r.yml").empty());
  const auto documents = parse_yaml("a: 1\n---\nb: 2\n---\n", "r.yml");
  REQUIRE(documents.size() == 3);
  CHECK(documents[1].find("b") != nullptr);
  CHECK(documents[2].kind == Node::Kind::kNull);
}

TEST_CASE("parse_yaml: JSON is read as it is") {
  const Node root = only("{\"a\": [1, \"2\", null, true],\n\t\"b\": {\"c\": \"x\\u00e9\\/\"}}");
  CHECK(root.find("a")->items.size() == 4);
  CHECK(root.find("a")->items[1].quoted);
  CHECK(root.find("a")->items[2].kind == Node::Kind::kNull);
  CHECK(root.find("b")->find("c")->scalar == "x\xC3\xA9/");
}

TEST_CASE("parse_yaml: a duplicate key is refused where it stands again") {
  CHECK(refusal("a: 1\nb: 2\n\"a\": 3\n") == "r.yml:3:1: duplicate key 'a'");
  CHECK(refusal("x: {k: 1, k: 2}\n") == "r.yml:1:11: duplicate key 'k'");
}

TEST_CASE("parse_yaml: tags and keys that are no text are refused") {
  CHECK(refusal("a: !!python/object/apply:os.system [x]\n").find("tags are not supported") !=
        std::string::npos);
  CHECK(refusal("a: !!int 3\n").find("r.yml:1:4: tags") == 0);
  CHECK(refusal("? [1, 2]\n: x\n").find("a key must be text") != std::string::npos);
  CHECK(refusal("? {a: b}\n: x\n").find("a key must be text") != std::string::npos);
}

TEST_CASE("parse_yaml: damaged text is a usage error with a place") {
  for (const char* text :
       {"a: [1, 2\n", "a: \"x\n", "a: 'it''s\n", "a: &q \"x\\\"\n", "a: b: c\n", "{a: 1",
        "a:\n\t- b\n", "a: *no\n", "[1] [2]\n", "{a: 1} b\n", "a: &x [*x]\n", "a: 1\n]\n",
        "- a\nb: c\n", "\"\\ud800\"", "a: \xFF\n", "a: \x1b\n", "%YAML 9.9 x\n---\na: 1\n"}) {
    INFO(text);
    CHECK(refusal(text).find("r.yml:") == 0);
  }
  CHECK(refusal("ok: 1\nbad: \xC3(\n").find("r.yml:2:6: ") == 0);
}

TEST_CASE("parse_yaml: anchors and merge keys expand as PyYAML expands them") {
  const Node root = only(
      "base: &base {density: 0.5, weight: 1}\n"
      "other: &other {weight: 2, extra: 3}\n"
      "a: *base\n"
      "b: {<<: *base, weight: 7}\n"
      "c: {<<: [*base, *other]}\n"
      "\"<<\": text\n");
  CHECK(root.find("a")->find("density")->number() == 0.5);
  CHECK(root.find("b")->find("weight")->number() == 7);
  CHECK(root.find("b")->find("density")->number() == 0.5);
  CHECK(root.find("c")->find("weight")->number() == 1);
  CHECK(root.find("c")->find("extra")->number() == 3);
  CHECK(root.find("<<")->scalar == "text");
  CHECK_FALSE(refusal("a: {<<: 3}\n").empty());
}

TEST_CASE("parse_yaml: a billion laughs are refused") {
  std::string text = "a0: &a0 [lol, lol, lol, lol, lol, lol, lol, lol, lol, lol]\n";
  for (int i = 1; i < 12; ++i) {
    text += fmt::format("a{0}: &a{0} [*a{1}, *a{1}, *a{1}, *a{1}, *a{1}, *a{1}, *a{1}, *a{1}]\n", i,
                        i - 1);
  }
  CHECK(refusal(text).find("anchors expand to too much text") != std::string::npos);
  std::string wide = "a: &a \"" + std::string(1'000'000, 'x') + "\"\nb: [";
  for (int i = 0; i < 1000; ++i) wide += "*a, ";
  CHECK(refusal(wide + "]\n").find("anchors expand") != std::string::npos);
}

TEST_CASE("parse_yaml: deep nesting is refused in flow and in block style") {
  CHECK(refusal(std::string(64, '[') + std::string(64, ']')).empty());
  CHECK(refusal(std::string(65, '[') + std::string(65, ']')).find("nesting deeper") !=
        std::string::npos);
  CHECK_FALSE(refusal(std::string(100'000, '[')).empty());
  std::string block;
  for (int i = 0; i < 2000; ++i) block += "- ";
  CHECK(refusal(block + "x\n").find("nesting deeper") != std::string::npos);
}

TEST_CASE("Node: numbers and booleans are read from plain scalars only") {
  const Node root = only(
      "[12, \"12\", -3, +4, 0x1F, 0o17, 1e-3, .5, 5., .inf, -.INF, .nan, inf, nan, 1x, '', true, "
      "No, 'true', 99999999999999999999, -9223372036854775808, ~, 1_000]");
  const auto& at = root.items;
  CHECK(at[0].integer() == 12);
  CHECK_FALSE(at[1].integer());
  CHECK_FALSE(at[1].number());
  CHECK(at[2].integer() == -3);
  CHECK(at[3].integer() == 4);
  CHECK(at[4].integer() == 31);
  CHECK(at[5].integer() == 15);
  CHECK(at[6].number() == 1e-3);
  CHECK_FALSE(at[6].integer());
  CHECK(at[7].number() == 0.5);
  CHECK(at[8].number() == 5);
  CHECK(at[9].number() == std::numeric_limits<double>::infinity());
  CHECK(at[10].number() == -std::numeric_limits<double>::infinity());
  CHECK(std::isnan(at[11].number().value()));
  for (const std::size_t i : {12U, 13U, 14U, 15U, 16U, 21U, 22U}) CHECK_FALSE(at[i].number());
  CHECK(at[16].boolean() == true);
  CHECK(at[17].boolean() == false);
  CHECK_FALSE(at[18].boolean());
  CHECK_FALSE(at[0].boolean());
  CHECK_FALSE(at[19].integer());
  CHECK(at[19].number() == 1e20);
  CHECK(at[20].integer() == std::numeric_limits<std::int64_t>::min());
}

TEST_CASE("check_keys: an unknown key is named with its place and the nearest known one") {
  const Node root = only("merge_method: ties\nparameters:\n  densty: 0.5\n");
  CHECK_NOTHROW(check_keys(root, {"merge_method", "parameters"}, "r.yml"));
  const auto error = test::error_of([&] {
    check_keys(*root.find("parameters"), {"density", "weight"}, "r.yml");
  });
  REQUIRE(error);
  CHECK(error->kind() == ErrorKind::kUsage);
  CHECK(error->message() == "r.yml:3:3: unknown key 'densty'");
  CHECK(error->hint() == "did you mean 'density'?");
  CHECK(test::error_of([&] { check_keys(*root.find("merge_method"), {}, "r.yml"); }));
}

TEST_CASE("parse_yaml: every mutation of a recipe is parsed or refused with an Error") {
  const std::string seed =
      "models:\n  - model: &m a/b\n    parameters: {w: [0, .5], d: \"x\\n\"}\n  - *m\n"
      "text: |\n  a\n  b\n---\nx: 'y'\n";
  const Random random(1, "yaml");
  constexpr std::string_view kAlphabet = "{}[]\"':-&*!|>%#?,\n\t @`<\\x\xC3\xFF";
  for (std::uint64_t i = 0; i < 5'000; ++i) {
    std::string text = seed;
    for (std::uint64_t k = 0; k <= random.bits(i * 16) % 4; ++k) {
      const std::uint32_t at = random.bits(i * 16 + 2 * k + 1);
      const std::uint32_t with = random.bits(i * 16 + 2 * k + 2);
      text[at % text.size()] = kAlphabet[with % kAlphabet.size()];
    }
    try {
      (void)parse_yaml(text, "r.yml");
    } catch (const Error& error) {
      REQUIRE(error.kind() == ErrorKind::kUsage);
    }
  }
}
