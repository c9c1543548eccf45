#include "distill/text/words.h"

#include <cstring>

#include "core/bytes.h"
#include "formats/tokenizer/normalizer.h"
#include "formats/tokenizer/unicode.h"

namespace lancet {
namespace {

__extension__ using Wide = unsigned __int128;

constexpr std::uint64_t kSecret[] = {0x9e3779b97f4a7c15ULL, 0xd1b54a32d192ed03ULL,
                                     0x8cb92ba72f3d8dd7ULL};

bool is_ascii(std::string_view text) {
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (static_cast<unsigned char>(text[i]) >= 0x80) return false;
  }
  return true;
}

bool is_space_byte(char c) { return c == ' ' || (c >= '\t' && c <= '\r'); }

std::string normalise_ascii(std::string_view text) {
  std::string out;
  out.resize(text.size());
  std::size_t size = 0;
  bool pending = false;
  for (const char c : text) {
    if (is_space_byte(c)) {
      pending = size > 0;
      continue;
    }
    if (pending) out[size++] = ' ';
    pending = false;
    out[size++] = c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c;
  }
  out.resize(size);
  return out;
}

std::string to_nfc(std::string_view text) {
  static const auto normalizer = unicode_normalizer(NormalForm::kNfc);
  TextArena arena;
  arena.begin(text.size());
  return std::string(normalizer->apply(Segment{text}, arena).text);
}

std::string normalise_unicode(std::string_view text) {
  const std::string composed = to_nfc(text);
  const std::uint8_t* classes = char_classes();
  std::string out;
  out.reserve(composed.size());
  bool pending = false;
  for (std::size_t at = 0; at < composed.size();) {
    const char32_t c = decode_at(composed.data(), at);
    if ((classes[c] & kSpace) != 0) {
      pending = !out.empty();
      continue;
    }
    if (pending) out += ' ';
    pending = false;
    append_lowercase(out, c);
  }
  return out;
}

/// Scripts that are written without blanks between words.
bool is_single(char32_t c) {
  return (c >= 0x2E80 && c <= 0x9FFF) || (c >= 0xF900 && c <= 0xFAFF) ||
         (c >= 0x20000 && c <= 0x3FFFF);
}

bool is_word_part(char32_t c) {
  if (c < 0x80) return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z');
  if ((char_classes()[c] & (kLetter | kNumber)) != 0) return true;
  const Category kind = category(c);
  return kind == Category::kMn || kind == Category::kMc || kind == Category::kMe;
}

std::uint64_t fold(std::uint64_t a, std::uint64_t b) noexcept {
  const Wide product = static_cast<Wide>(a) * b;
  return static_cast<std::uint64_t>(product) ^ static_cast<std::uint64_t>(product >> 64U);
}

}  // namespace

std::string normalise_text(std::string_view text) {
  return is_ascii(text) ? normalise_ascii(text) : normalise_unicode(text);
}

std::vector<std::string_view> words_of(std::string_view text) {
  std::vector<std::string_view> words;
  std::size_t begin = std::string_view::npos;
  const auto close = [&](std::size_t end) {
    if (begin != std::string_view::npos) words.push_back(text.substr(begin, end - begin));
    begin = std::string_view::npos;
  };
  for (std::size_t at = 0; at < text.size();) {
    const std::size_t start = at;
    const char32_t c = decode_at(text.data(), at);
    if (!is_word_part(c)) {
      close(start);
    } else if (is_single(c)) {
      close(start);
      words.push_back(text.substr(start, at - start));
    } else if (begin == std::string_view::npos) {
      begin = start;
    }
  }
  close(text.size());
  return words;
}

std::uint64_t mix64(std::uint64_t value) noexcept {
  value = (value ^ (value >> 30U)) * 0xbf58476d1ce4e5b9ULL;
  value = (value ^ (value >> 27U)) * 0x94d049bb133111ebULL;
  return value ^ (value >> 31U);
}

std::uint64_t hash_text(std::string_view text, std::uint64_t seed) noexcept {
  std::uint64_t state = seed ^ kSecret[0];
  const std::size_t size = text.size();
  while (text.size() > 16) {
    state = fold(load_le<std::uint64_t>(text.data()) ^ kSecret[1],
                 load_le<std::uint64_t>(text.data() + 8) ^ state);
    text.remove_prefix(16);
  }
  char last[16] = {};
  std::memcpy(last, text.data(), text.size());
  state = fold(load_le<std::uint64_t>(last) ^ kSecret[2], load_le<std::uint64_t>(last + 8) ^ state);
  return fold(state ^ kSecret[0], size ^ kSecret[1]);
}

std::vector<std::uint64_t> hash_words(const std::vector<std::string_view>& words) {
  std::vector<std::uint64_t> hashes(words.size());
  for (std::size_t i = 0; i < words.size(); ++i) hashes[i] = hash_text(words[i]);
  return hashes;
}

std::vector<std::uint64_t> hash_ngrams(const std::vector<std::uint64_t>& hashes, std::size_t n) {
  // A polynomial of odd base over 2^64, rolled along: h' = (h - first base^(n-1)) base + next.
  constexpr std::uint64_t kBase = 0x9e3779b97f4a7c15ULL;
  std::vector<std::uint64_t> out;
  if (hashes.size() < n || n == 0) return out;
  std::uint64_t power = 1, rolling = 0;
  for (std::size_t i = 0; i < n; ++i) {
    rolling = rolling * kBase + hashes[i];
    if (i > 0) power *= kBase;
  }
  out.reserve(hashes.size() - n + 1);
  out.push_back(mix64(rolling));
  for (std::size_t i = n; i < hashes.size(); ++i) {
    rolling = (rolling - hashes[i - n] * power) * kBase + hashes[i];
    out.push_back(mix64(rolling));
  }
  return out;
}

}  // namespace lancet
