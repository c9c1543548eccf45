#include "core/text.h"

#include "tests/catch.h"

using namespace lancet;

TEST_CASE("find_invalid_utf8: surrogates and overlong forms and values past U+10FFFF are invalid") {
  CHECK_FALSE(find_invalid_utf8("plain ascii, longer than eight bytes"));
  CHECK_FALSE(find_invalid_utf8("\xC3\xA9\xE2\x82\xAC\xF0\x9F\x98\x80\xF4\x8F\xBF\xBF"));
  CHECK(find_invalid_utf8("abcdefgh\x80") == 8);
  CHECK(find_invalid_utf8("a\xC0\x80") == 1);
  CHECK(find_invalid_utf8("\xE0\x9F\xBF") == 0);
  CHECK(find_invalid_utf8("\xED\xA0\x80") == 0);
  CHECK(find_invalid_utf8("\xF4\x90\x80\x80") == 0);
  CHECK(find_invalid_utf8("\xF5\x80\x80\x80") == 0);
  CHECK(find_invalid_utf8("ok\xE2\x82") == 2);
}

TEST_CASE("append_utf8 and next_code_point undo each other for every code point") {
  for (char32_t c = 0; c <= 0x10FFFF; ++c) {
    if (c >= 0xD800 && c < 0xE000) continue;
    std::string text;
    append_utf8(text, c);
    std::size_t at = 0;
    if (find_invalid_utf8(text) || next_code_point(text, at) != c || at != text.size()) {
      FAIL("code point " << static_cast<std::uint32_t>(c));
    }
  }
}

TEST_CASE("append_utf8: a surrogate becomes U+FFFD") {
  std::string text;
  append_utf8(text, 0xD800);
  append_utf8(text, 0x110000);
  CHECK(text == "\xEF\xBF\xBD\xEF\xBF\xBD");
}

TEST_CASE("utf8_lossy: each maximal invalid part becomes one U+FFFD") {
  const std::string r = "\xEF\xBF\xBD";
  CHECK(utf8_lossy("abc") == "abc");
  CHECK(utf8_lossy("a\xFF z") == "a" + r + " z");
  CHECK(utf8_lossy("\xF0\x9F\x98 b") == r + " b");
  // The example of the Unicode standard, table 3-8.
  CHECK(utf8_lossy("\x61\xF1\x80\x80\xE1\x80\xC2\x62\x80\x63\x80\xBF\x64") ==
        "a" + r + r + r + "b" + r + "c" + r + r + "d");
  CHECK(utf8_lossy("\xE2\x82") == r);
  CHECK(utf8_lossy("\xED\xA0\x80") == r + r + r);
}

TEST_CASE("printable: nothing that moves a terminal's cursor or reorders its line gets through") {
  CHECK(printable("a\nb\tc\rd") == "a\\nb\\tc\\rd");
  CHECK(printable("\x1b[31m") == "\\x1b[31m");
  CHECK(printable(std::string_view("\0", 1)) == "\\x00");
  CHECK(printable("\xFF\xC3\xA9") == "\\xff\xC3\xA9");
  CHECK(printable("a\xE2\x80\xAE"
                  "b") == "a\\u202eb");
  CHECK(printable("\xC2\x9B") == "\\u009b");
}

TEST_CASE("printable: a cut never splits a character") {
  CHECK(printable("abcdef", 3) == "abc...");
  CHECK(printable("abc", 3) == "abc");
  CHECK(printable("ab\xC3\xA9", 3) == "ab...");
  CHECK(printable("ab\n", 3) == "ab...");
  CHECK(printable("", 0).empty());
}

TEST_CASE("nearest: finds a misspelt name and gives up on a far one") {
  const std::vector<std::string_view> names{"linear", "slerp", "ties", "dare_ties", "della"};
  CHECK(nearest("tise", names) == "ties");
  CHECK(nearest("SLERP", names) == "slerp");
  CHECK(nearest("linaer", names) == "linear");
  CHECK(nearest("dare_tie", names) == "dare_ties");
  CHECK_FALSE(nearest("quantize", names));
  CHECK_FALSE(nearest("x", {"y"}));
  CHECK_FALSE(nearest("", names));
  CHECK_FALSE(nearest(std::string(1'000'000, 'a'), names));
}

TEST_CASE("did_you_mean: asks only where a name is near") {
  CHECK(did_you_mean("densty", {"density", "weight"}) == "did you mean 'density'?");
  CHECK(did_you_mean("zzz", {"density", "weight"}).empty());
}
