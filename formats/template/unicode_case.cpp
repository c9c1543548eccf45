// Upper, lower, title and folded case of strings, with the mappings that change a string's length.

#include <utf8proc.h>

#include <algorithm>
#include <iterator>

#include "core/text.h"
#include "formats/template/unicode.h"

namespace lancet::jinja {
namespace {

/// Unicode's SpecialCasing.txt, the unconditional entries: upper case of one code point that is
/// several.
struct Special {
  char32_t from;
  std::u32string_view upper;
};
constexpr Special kSpecialUpper[] = {{0xdf, U"SS"},
                                     {0x149, U"\u02bcN"},
                                     {0x1f0, U"J\u030c"},
                                     {0x390, U"\u0399\u0308\u0301"},
                                     {0x3b0, U"\u03a5\u0308\u0301"},
                                     {0x587, U"\u0535\u0552"},
                                     {0x1e96, U"H\u0331"},
                                     {0x1e97, U"T\u0308"},
                                     {0x1e98, U"W\u030a"},
                                     {0x1e99, U"Y\u030a"},
                                     {0x1e9a, U"A\u02be"},
                                     {0x1f50, U"\u03a5\u0313"},
                                     {0x1f52, U"\u03a5\u0313\u0300"},
                                     {0x1f54, U"\u03a5\u0313\u0301"},
                                     {0x1f56, U"\u03a5\u0313\u0342"},
                                     {0x1fb2, U"\u1fba\u0399"},
                                     {0x1fb3, U"\u0391\u0399"},
                                     {0x1fb4, U"\u0386\u0399"},
                                     {0x1fb6, U"\u0391\u0342"},
                                     {0x1fb7, U"\u0391\u0342\u0399"},
                                     {0x1fbc, U"\u0391\u0399"},
                                     {0x1fc2, U"\u1fca\u0399"},
                                     {0x1fc3, U"\u0397\u0399"},
                                     {0x1fc4, U"\u0389\u0399"},
                                     {0x1fc6, U"\u0397\u0342"},
                                     {0x1fc7, U"\u0397\u0342\u0399"},
                                     {0x1fcc, U"\u0397\u0399"},
                                     {0x1fd2, U"\u0399\u0308\u0300"},
                                     {0x1fd3, U"\u0399\u0308\u0301"},
                                     {0x1fd6, U"\u0399\u0342"},
                                     {0x1fd7, U"\u0399\u0308\u0342"},
                                     {0x1fe2, U"\u03a5\u0308\u0300"},
                                     {0x1fe3, U"\u03a5\u0308\u0301"},
                                     {0x1fe4, U"\u03a1\u0313"},
                                     {0x1fe6, U"\u03a5\u0342"},
                                     {0x1fe7, U"\u03a5\u0308\u0342"},
                                     {0x1ff2, U"\u1ffa\u0399"},
                                     {0x1ff3, U"\u03a9\u0399"},
                                     {0x1ff4, U"\u038f\u0399"},
                                     {0x1ff6, U"\u03a9\u0342"},
                                     {0x1ff7, U"\u03a9\u0342\u0399"},
                                     {0x1ffc, U"\u03a9\u0399"},
                                     {0xfb00, U"FF"},
                                     {0xfb01, U"FI"},
                                     {0xfb02, U"FL"},
                                     {0xfb03, U"FFI"},
                                     {0xfb04, U"FFL"},
                                     {0xfb05, U"ST"},
                                     {0xfb06, U"ST"},
                                     {0xfb13, U"\u0544\u0546"},
                                     {0xfb14, U"\u0544\u0535"},
                                     {0xfb15, U"\u0544\u053b"},
                                     {0xfb16, U"\u054e\u0546"},
                                     {0xfb17, U"\u0544\u053d"}};

void append_upper(std::string& out, char32_t c) {
  if (c >= 0x1f80 && c <= 0x1faf) {  // Greek with iota subscript: the capital, then iota
    const char32_t base = c < 0x1f90 ? 0x1f08 : c < 0x1fa0 ? 0x1f28 : 0x1f68;
    append_utf8(out, base + (c & 7));
    append_utf8(out, 0x399);
    return;
  }
  const auto* entry = std::lower_bound(std::begin(kSpecialUpper), std::end(kSpecialUpper), c,
                                       [](const Special& s, char32_t x) { return s.from < x; });
  if (entry != std::end(kSpecialUpper) && entry->from == c) {
    for (const char32_t part : entry->upper) append_utf8(out, part);
    return;
  }
  append_utf8(out, static_cast<char32_t>(utf8proc_toupper(static_cast<utf8proc_int32_t>(c))));
}

void append_title(std::string& out, char32_t c) {
  const auto* entry = std::lower_bound(std::begin(kSpecialUpper), std::end(kSpecialUpper), c,
                                       [](const Special& s, char32_t x) { return s.from < x; });
  const bool special = entry != std::end(kSpecialUpper) && entry->from == c;
  const bool iota =
      c == 0x1fb3 || c == 0x1fbc || c == 0x1fc3 || c == 0x1fcc || c == 0x1ff3 || c == 0x1ffc;
  if (!special || iota) {
    append_utf8(out, static_cast<char32_t>(utf8proc_totitle(static_cast<utf8proc_int32_t>(c))));
    return;
  }
  if (c == 0x149) {  // the apostrophe before it has no case, so N is the first letter
    out += "\u02bcN";
    return;
  }
  // The first letter stays a capital, the rest is lower case; iota becomes the subscript U+0345.
  std::size_t at = 0;
  for (const char32_t part : entry->upper) {
    const auto small = static_cast<char32_t>(utf8proc_tolower(static_cast<utf8proc_int32_t>(part)));
    append_utf8(out, at++ == 0 ? part : part == 0x399 ? char32_t{0x345} : small);
  }
}

bool is_cased(char32_t c) noexcept { return is_upper(c) || is_lower(c) || is_title(c); }

bool is_case_ignorable(char32_t c) noexcept {
  switch (utf8proc_category(static_cast<utf8proc_int32_t>(c))) {
    case UTF8PROC_CATEGORY_MN:
    case UTF8PROC_CATEGORY_ME:
    case UTF8PROC_CATEGORY_CF:
    case UTF8PROC_CATEGORY_LM:
    case UTF8PROC_CATEGORY_SK:
      return true;
    default:
      break;
  }
  return c == '\'' || c == '.' || c == ':' || c == 0xb7 || c == 0x2018 || c == 0x2019 ||
         c == 0x2024 || c == 0x2027 || c == 0x387 || c == 0x55f || c == 0x5f4;
}

/// Sigma is final when a cased letter stands before it and none after it (marks between do not
/// count). Each side is searched at most 64 code points far, which keeps hostile texts linear.
bool is_final_sigma(std::string_view text, std::size_t at) {
  bool before = false;
  std::size_t i = at;
  for (int steps = 0; i > 0 && steps < 64; ++steps) {
    do {
      --i;
    } while (i > 0 && (static_cast<unsigned char>(text[i]) & 0xc0) == 0x80);
    std::size_t read = i;
    const char32_t c = next_code_point(text, read);
    if (is_case_ignorable(c)) continue;
    before = is_cased(c);
    break;
  }
  if (!before) return false;
  i = at + 2;
  for (int steps = 0; i < text.size() && steps < 64; ++steps) {
    const char32_t c = next_code_point(text, i);
    if (!is_case_ignorable(c)) return !is_cased(c);
  }
  return true;
}

void append_lower(std::string& out, std::string_view text, std::size_t at, char32_t c) {
  if (c == 0x130) {  // I with a dot above keeps its dot
    out += "i\u0307";
  } else if (c == 0x3a3) {
    append_utf8(out, is_final_sigma(text, at) ? 0x3c2 : 0x3c3);
  } else {
    append_utf8(out, static_cast<char32_t>(utf8proc_tolower(static_cast<utf8proc_int32_t>(c))));
  }
}

template <typename Visit>
void each_code_point(std::string_view text, Visit visit) {
  for (std::size_t at = 0; at < text.size();) {
    const std::size_t start = at;
    const char32_t c = next_code_point(text, at);
    visit(start, c);
  }
}

}  // namespace

std::string to_upper(std::string_view text) {
  std::string out;
  each_code_point(text, [&](std::size_t, char32_t c) { append_upper(out, c); });
  return out;
}

std::string to_lower(std::string_view text) {
  std::string out;
  each_code_point(text, [&](std::size_t at, char32_t c) { append_lower(out, text, at, c); });
  return out;
}

std::string capitalize(std::string_view text) {
  std::string out;
  each_code_point(text, [&](std::size_t at, char32_t c) {
    if (at == 0)
      append_title(out, c);
    else
      append_lower(out, text, at, c);
  });
  return out;
}

std::string title_case(std::string_view text) {
  std::string out;
  bool inside = false;
  each_code_point(text, [&](std::size_t at, char32_t c) {
    if (inside)
      append_lower(out, text, at, c);
    else
      append_title(out, c);
    inside = is_cased(c);
  });
  return out;
}

std::string swap_case(std::string_view text) {
  std::string out;
  each_code_point(text, [&](std::size_t at, char32_t c) {
    if (is_upper(c))
      append_lower(out, text, at, c);
    else if (is_lower(c))
      append_upper(out, c);
    else
      append_utf8(out, c);
  });
  return out;
}

std::string case_fold(std::string_view text) {
  std::string out;
  each_code_point(text, [&](std::size_t, char32_t c) {
    utf8proc_int32_t folded[8];
    int boundary = 0;
    const auto count = utf8proc_decompose_char(static_cast<utf8proc_int32_t>(c), folded, 8,
                                               UTF8PROC_CASEFOLD, &boundary);
    for (utf8proc_ssize_t i = 0; i < count && i < 8; ++i) {
      append_utf8(out, static_cast<char32_t>(folded[i]));
    }
  });
  return out;
}

}  // namespace lancet::jinja
