// The hand-written scanners and the regex layer against PCRE2 and obvious versions.

#include <cstdlib>
#include <random>

#include "core/error.h"
#include "core/text.h"
#include "formats/tokenizer/pattern.h"
#include "formats/tokenizer/regex.h"
#include "formats/tokenizer/scanners.h"
#include "formats/tokenizer/token_matcher.h"
#include "formats/tokenizer/unicode.h"
#include "tests/catch.h"

using namespace lancet;

namespace {

const Where kHere{"test", "", 0};

using Pieces = std::vector<std::pair<std::size_t, std::size_t>>;

/// Random strings out of what the patterns look at, and any other code point.
class StringMaker {
 public:
  explicit StringMaker(std::uint32_t seed) : random_(seed) {}

  std::string next() {
    static const std::vector<std::string> parts = {" ",
                                                   " ",
                                                   " ",
                                                   "  ",
                                                   "\n",
                                                   "\r",
                                                   "\t",
                                                   "\r\n",
                                                   "\x0b",
                                                   "\xC2\xA0",
                                                   "\xC2\x85",
                                                   "\xE2\x80\xA8",
                                                   "\xE3\x80\x80",
                                                   "\xE1\xA0\x8E",
                                                   "\xE2\x80\x8B",
                                                   "'",
                                                   "'s",
                                                   "'S",
                                                   "'t",
                                                   "'re",
                                                   "'VE",
                                                   "'m",
                                                   "'lL",
                                                   "'d",
                                                   "'\xC5\xBF",
                                                   "'l",
                                                   "a",
                                                   "b",
                                                   "the",
                                                   "Z",
                                                   "\xC3\xA9",
                                                   "\xC7\x85",
                                                   "\xD0\xB6",
                                                   "\xE4\xB8\xAD",
                                                   "\xEA\xB0\x80",
                                                   "\xF0\x90\x90\x80",
                                                   "0",
                                                   "1",
                                                   "23",
                                                   "4567",
                                                   "\xD9\xA0",
                                                   "\xC2\xBD",
                                                   "\xE2\x85\xA3",
                                                   "\xF0\x9D\x9F\x98",
                                                   ".",
                                                   ",",
                                                   "!",
                                                   "-",
                                                   "_",
                                                   "/",
                                                   "\xE2\x80\x94",
                                                   "\xF0\x9F\x98\x80",
                                                   "\xCC\x81",
                                                   "\xE2\x83\x9D",
                                                   "\xEF\xB8\x8F",
                                                   "\x01",
                                                   "\x7F",
                                                   "\xEF\xBF\xBD"};
    std::string out;
    for (std::size_t left = 1 + below(9); left > 0; --left) {
      if (below(8) == 0) {
        append_utf8(out, code_point());
      } else {
        out += parts[below(parts.size())];
      }
    }
    return out;
  }

 private:
  std::size_t below(std::size_t bound) {
    return std::uniform_int_distribution<std::size_t>(0, bound - 1)(random_);
  }
  char32_t code_point() {
    static constexpr char32_t ends[] = {0x80, 0x800, 0x3000, 0xD800, 0x20000, 0x110000};
    const auto c = static_cast<char32_t>(below(ends[below(std::size(ends))]));
    return c >= 0xD800 && c < 0xE000 ? U'x' : c;
  }
  std::mt19937 random_;
};

Pieces scan(ScanFunction scanner, std::string_view text) {
  Pieces out;
  for (std::size_t at = 0; at < text.size();) {
    const std::size_t end = scanner(text, at);
    out.emplace_back(at, end);
    at = end;
  }
  return out;
}

Pieces matches(const Regex& regex, std::string_view text) {
  Pieces out;
  regex.split(text, [&](std::size_t begin, std::size_t end, bool match) {
    REQUIRE(match);
    out.emplace_back(begin, end);
  });
  return out;
}

std::vector<std::string> split(const Json& pattern, Behavior behavior, bool invert,
                               std::string_view text) {
  std::vector<std::string> out;
  split_text(*make_pattern(pattern, kHere), behavior, invert, text,
             [&](std::size_t begin, std::size_t end) {
               out.emplace_back(text.substr(begin, end - begin));
             });
  return out;
}

}  // namespace

// LANCET_SCANNER_STRINGS: of each pattern, instead of the default.
TEST_CASE("scanners: each splits a million random strings as its regular expression does",
          "[tokenizer][slow]") {
  struct Case {
    std::string_view pattern;
    ScanFunction scanner;
    int strings;
  };
  const char* asked = std::getenv("LANCET_SCANNER_STRINGS");
  for (const Case& pair :
       {Case{kGpt2Pattern, scan_gpt2, 400'000}, Case{kLlama3Pattern, scan_llama3, 400'000},
        Case{kQwen2Pattern, scan_qwen2, 200'000}}) {
    REQUIRE(find_scanner(pair.pattern) == pair.scanner);
    const Regex regex(pair.pattern, kHere);
    StringMaker maker(20240607);
    const int strings = asked != nullptr ? std::atoi(asked) : pair.strings;
    int differences = 0;
    for (int i = 0; i < strings; ++i) {
      const std::string text = maker.next();
      if (scan(pair.scanner, text) != matches(regex, text) && ++differences <= 3) {
        UNSCOPED_INFO(pair.pattern << " on " << printable(text));
      }
    }
    CHECK(differences == 0);
  }
}

TEST_CASE("scanners: a run of a million blanks is split in linear time", "[tokenizer]") {
  std::string text(1'000'000, ' ');
  text += "x\n";
  text.append(1'000'000, '\n');
  text += "y";
  for (const ScanFunction scanner : {scan_gpt2, scan_llama3, scan_qwen2}) {
    CHECK(scan(scanner, text).size() <= 8);
  }
}

TEST_CASE("regex: classes mean what they mean in Oniguruma", "[tokenizer]") {
  const auto matched = [](std::string_view pattern, std::string_view text) {
    bool all = true;
    std::size_t covered = 0;
    Regex(pattern, kHere).split(text, [&](std::size_t begin, std::size_t end, bool match) {
      all = all && match && end > begin;
      covered += end - begin;
    });
    return all && covered == text.size();
  };
  CHECK_FALSE(matched("\\s", "\xE1\xA0\x8E"));  // U+180E
  CHECK(matched("\\S", "\xE1\xA0\x8E"));
  CHECK(matched("[^\\s]", "\xE1\xA0\x8E"));
  CHECK(matched("[\\S]", "\xE1\xA0\x8E"));
  CHECK(matched("\\s", "\xC2\x85"));
  CHECK(matched("\\w", "\xCC\x81"));  // U+0301, a mark
  CHECK(matched("\\W", "-"));
  CHECK(matched("\\w", "\xC2\xBD"));  // a bare \w has U+00BD, a class has not
  CHECK(matched("[^\\w]", "\xC2\xBD"));
  CHECK(matched("\\h", "f"));
  CHECK_FALSE(matched("\\h", "g"));
  CHECK(matched("\\p{L}", "\xF0\x90\xB5\x90"));  // U+10D50, a letter since Unicode 16
  CHECK(matched("\\p{Lu}", "\xF0\x90\xB5\x90"));
  CHECK(matched("[^\\p{L}]", "\xF0\x91\xB7\xA0"));  // U+11DE0, unassigned in Unicode 16
  CHECK(matched("(?i:'s)", "'\xC5\xBF"));
}

TEST_CASE("regex: every code point has the general category of our table, whatever PCRE2 has",
          "[tokenizer][slow]") {
  std::string every;
  for (char32_t c = 0; c < 0x110000; ++c) {
    if (c < 0xD800 || c >= 0xE000) append_utf8(every, c);
  }
  const std::vector<std::pair<std::string, Category>> categories = {
      {"Lu", Category::kLu}, {"Ll", Category::kLl}, {"Lt", Category::kLt}, {"Lm", Category::kLm},
      {"Lo", Category::kLo}, {"Mn", Category::kMn}, {"Mc", Category::kMc}, {"Nd", Category::kNd},
      {"No", Category::kNo}, {"Pd", Category::kPd}, {"Po", Category::kPo}, {"Sm", Category::kSm},
      {"So", Category::kSo}, {"Cf", Category::kCf}};
  for (const auto& [name, category_of_name] : categories) {
    const Category wanted = category_of_name;  // clang 14 captures no structured bindings
    int wrong = 0;
    Regex("\\p{" + name + "}+", kHere)
        .split(every, [&](std::size_t at, std::size_t end, bool match) {
          while (at < end)
            wrong += (category(decode_at(every.data(), at)) == wanted) != match ? 1 : 0;
        });
    INFO(name);
    CHECK(wrong == 0);
  }
}

TEST_CASE("regex: classes in classes and intersections hold what their members say",
          "[tokenizer]") {
  const auto members = [](const std::string& pattern) {
    std::string out;
    std::string every;
    for (char c = ' '; c < '\x7F'; ++c) every += c;
    Regex(pattern, kHere).split(every, [&](std::size_t begin, std::size_t end, bool match) {
      if (match) out += every.substr(begin, end - begin);
    });
    return out;
  };
  CHECK(members("[a-f&&[^bc]]") == "adef");
  CHECK(members("[^a-z&&[^bc]&&[^A-Z]]").find_first_of("adefz") == std::string::npos);
  CHECK(members("[^a-z&&[^bc]]").find("bc") != std::string::npos);
  CHECK(members("[a[bc]d]") == "abcd");
  CHECK(members("[+-[a]z]") == "+-az");
  CHECK(members("[^[ -~&&[^xy]]]") == "xy");
  CHECK(members("[[^ -w]&&[a-y]]") == "xy");
  CHECK(members("[\\W&&[#-&]]") == "#$%&");
  CHECK(members("[]a]") == "]a");
  CHECK(members("[[:digit:]x]") == "0123456789x");
  CHECK_THROWS_AS(Regex("[a[b]", kHere), Error);
  CHECK_THROWS_AS(Regex(std::string(40, '['), kHere), Error);
}

TEST_CASE("regex: a script has its own characters, not those that it shares", "[tokenizer]") {
  std::size_t matched = 0;
  Regex("\\p{Han}", kHere)
      .split("\xE4\xB8\xAD\xE3\x80\x82", [&](std::size_t, std::size_t, bool match) {
        matched += match ? 1 : 0;  // U+4E2D is Han, U+3002 common to many
      });
  CHECK(matched == 1);
}

TEST_CASE("pattern: the behaviours keep, drop and join matches as the library does",
          "[tokenizer]") {
  const Json dash = {{"String", "-"}};
  const std::string_view text = "the-final--countdown";
  using List = std::vector<std::string>;
  CHECK(split(dash, Behavior::kRemoved, false, text) == List{"the", "final", "countdown"});
  CHECK(split(dash, Behavior::kIsolated, false, text) ==
        List{"the", "-", "final", "-", "-", "countdown"});
  CHECK(split(dash, Behavior::kMergedWithPrevious, false, text) ==
        List{"the-", "final-", "-", "countdown"});
  CHECK(split(dash, Behavior::kMergedWithNext, false, text) ==
        List{"the", "-final", "-", "-countdown"});
  CHECK(split(dash, Behavior::kContiguous, false, text) ==
        List{"the", "-", "final", "--", "countdown"});
  CHECK(split(dash, Behavior::kRemoved, true, text) == List{"-", "-", "-"});
}

TEST_CASE("token matcher: it finds what a search at every position finds", "[tokenizer]") {
  std::mt19937 random(7);
  const auto word = [&](int longest) {
    std::string out;
    for (int i = 1 + static_cast<int>(random() % static_cast<unsigned>(longest)); i > 0; --i) {
      out += static_cast<char>('a' + random() % 3);
    }
    return out;
  };
  for (int round = 0; round < 2000; ++round) {
    std::vector<std::string> literals;
    for (int i = 0; i < 6; ++i) literals.push_back(word(5));
    const std::string text = word(40);
    std::vector<std::pair<std::size_t, std::string>> expected;
    for (std::size_t at = 0; at < text.size();) {
      std::string best;
      for (const std::string& literal : literals) {
        if (literal.size() > best.size() && text.compare(at, literal.size(), literal) == 0)
          best = literal;
      }
      if (best.empty()) {
        ++at;
      } else {
        expected.emplace_back(at, best);
        at += best.size();
      }
    }
    std::vector<std::pair<std::size_t, std::string>> found;
    for (const auto& match : TokenMatcher(literals).find(text))
      found.emplace_back(match.begin, literals[match.literal]);
    REQUIRE(found == expected);
  }
}
