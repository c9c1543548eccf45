// The normal forms of Unicode Standard Annex 15 by utf8proc, cluster by cluster, so that each
// output byte knows its input range. A cluster begins at a code point that nothing before it can
// reorder or compose with. Differs from utf8proc: code points that the library's older tables do
// not know (kInert) stay as they are.

#include <algorithm>
#include <array>
#include <optional>
#include <string>
#include <vector>

#include <fmt/format.h>
#include <utf8proc.h>

#include "core/text.h"
#include "formats/tokenizer/normalizer.h"
#include "formats/tokenizer/unicode.h"

namespace lancet {
namespace {

constexpr std::uint16_t kNone = UINT16_MAX;

const utf8proc_property_t& property_of(char32_t c) {
  return *utf8proc_get_property(static_cast<utf8proc_int32_t>(c));
}

bool is_hangul_syllable(char32_t c) { return c >= 0xAC00 && c <= 0xD7A3; }
/// Vowels and trailing consonants compose with what stands before them.
bool is_hangul_follower(char32_t c) { return c >= 0x1160 && c <= 0x11FF; }

/// May `c` be reordered before, or composed with, a preceding code point?
bool joins_previous(char32_t c) {
  const utf8proc_property_t& property = property_of(c);
  const bool second = property.comb_index != kNone && property.comb_index >= 0x8000;
  return property.combining_class != 0 || second || is_hangul_follower(c);
}

class UnicodeNormalizer : public Normalizer {
 public:
  explicit UnicodeNormalizer(NormalForm form)
      : compatible_(form == NormalForm::kNfkc || form == NormalForm::kNfkd),
        composes_(form == NormalForm::kNfc || form == NormalForm::kNfkc) {
    unsigned options = UTF8PROC_STABLE | UTF8PROC_COMPOSE;
    if (compatible_) options |= UTF8PROC_COMPAT;
    options_ = static_cast<utf8proc_option_t>(options);
    // Below this nothing decomposes and nothing composes with what stands before it.
    unchanged_below_ = form == NormalForm::kNfc ? 0x300 : compatible_ ? 0xA0 : 0xC0;
  }

  Segment apply(const Segment& segment, TextArena& arena) const override {
    const std::string_view text = segment.text;
    std::optional<SegmentBuilder> builder;  // from the first change on
    std::size_t kept = 0;                   // text before this is in the builder or needs none
    for (std::size_t begin = 0; (begin = next_cluster(text, begin)) < text.size();) {
      const std::size_t end = cluster_end(text, begin);
      const auto changed = changed_cluster(text.substr(begin, end - begin));
      if (changed) {
        if (!builder) builder.emplace(segment, arena);
        builder->keep(kept, begin);
        builder->put(*changed, begin, end);
        kept = end;
      }
      begin = end;
    }
    if (!builder) return segment;
    builder->keep(kept, text.size());
    return builder->finish();
  }

 private:
  /// Start, from `begin` (itself a start) on, of the next cluster that might change.
  [[nodiscard]] std::size_t next_cluster(std::string_view text, std::size_t begin) const {
    std::size_t last = begin;
    for (std::size_t at = begin; at < text.size();) {
      const std::size_t here = at;
      if (decode_at(text.data(), at) >= unchanged_below_) return here == begin ? begin : last;
      last = here;
    }
    return text.size();
  }

  [[nodiscard]] static bool is_inert(char32_t c) { return (char_classes()[c] & kInert) != 0; }

  [[nodiscard]] bool begins_cluster(char32_t c) const {
    if (c < 0x300 || is_inert(c)) return true;
    if (joins_previous(c)) return false;
    if (is_hangul_syllable(c) || property_of(c).decomp_seqindex == kNone) return true;
    std::vector<utf8proc_int32_t> parts;
    decompose(c, parts);
    return parts.empty() || !joins_previous(static_cast<char32_t>(parts[0]));
  }

  [[nodiscard]] utf8proc_option_t decomposing() const {
    const unsigned options = static_cast<unsigned>(UTF8PROC_STABLE) |
                             static_cast<unsigned>(UTF8PROC_DECOMPOSE) |
                             (compatible_ ? static_cast<unsigned>(UTF8PROC_COMPAT) : 0U);
    return static_cast<utf8proc_option_t>(options);
  }

  [[nodiscard]] std::size_t cluster_end(std::string_view text, std::size_t begin) const {
    std::size_t at = begin;
    if (is_inert(decode_at(text.data(), at))) return at;
    while (at < text.size()) {
      std::size_t next = at;
      if (begins_cluster(decode_at(text.data(), next))) break;
      at = next;
    }
    return at;
  }

  /// Is a cluster of this one code point its own normal form?
  [[nodiscard]] bool is_stable_alone(char32_t c) const {
    if (c < unchanged_below_ || is_inert(c)) return true;
    if (is_hangul_syllable(c)) return composes_;
    const utf8proc_property_t& property = property_of(c);
    if (property.decomp_seqindex == kNone) return true;
    return !compatible_ && property.decomp_type != 0;
  }

  /// The cluster's normal form, or nothing where it already is.
  [[nodiscard]] std::optional<std::string> changed_cluster(std::string_view cluster) const {
    std::size_t after_first = 0;
    const char32_t first = decode_at(cluster.data(), after_first);
    if (after_first == cluster.size() && is_stable_alone(first)) return std::nullopt;
    std::string normal = normal_form(cluster);
    if (normal == cluster) return std::nullopt;
    return normal;
  }

  /// Full decomposition of one code point, appended.
  void decompose(char32_t c, std::vector<utf8proc_int32_t>& points) const {
    std::array<utf8proc_int32_t, 32> parts{};
    int boundary = UTF8PROC_BOUNDCLASS_START;
    const auto count = utf8proc_decompose_char(static_cast<utf8proc_int32_t>(c), parts.data(),
                                               static_cast<utf8proc_ssize_t>(parts.size()),
                                               decomposing(), &boundary);
    if (count < 0 || count > static_cast<utf8proc_ssize_t>(parts.size())) {
      fail(ErrorKind::kInternal, "tokenizer",
           fmt::format("normalization of U+{:04X}: {}", static_cast<std::uint32_t>(c),
                       utf8proc_errmsg(count)));
    }
    points.insert(points.end(), parts.begin(), parts.begin() + count);
  }

  /// Not utf8proc_decompose: that one orders marks in quadratic time.
  [[nodiscard]] std::string normal_form(std::string_view cluster) const {
    std::vector<utf8proc_int32_t> points;
    for (std::size_t at = 0; at < cluster.size();) decompose(decode_at(cluster.data(), at), points);
    order_marks(points);
    auto count = static_cast<utf8proc_ssize_t>(points.size());
    if (composes_) count = utf8proc_normalize_utf32(points.data(), count, options_);
    std::string out;
    for (utf8proc_ssize_t i = 0; i < count; ++i) {
      append_utf8(out, static_cast<char32_t>(points[static_cast<std::size_t>(i)]));
    }
    return out;
  }

  /// Canonical ordering: marks between starters by combining class, equal ones in their order.
  static void order_marks(std::vector<utf8proc_int32_t>& points) {
    const auto rank = [](utf8proc_int32_t c) { return utf8proc_get_property(c)->combining_class; };
    for (auto begin = points.begin(); begin != points.end();) {
      begin = std::find_if(begin, points.end(), [&](auto c) { return rank(c) != 0; });
      const auto end = std::find_if(begin, points.end(), [&](auto c) { return rank(c) == 0; });
      std::stable_sort(begin, end, [&](auto a, auto b) { return rank(a) < rank(b); });
      begin = end;
    }
  }

  bool compatible_;
  bool composes_;
  utf8proc_option_t options_{};
  char32_t unchanged_below_ = 0;
};

}  // namespace

std::unique_ptr<Normalizer> unicode_normalizer(NormalForm form) {
  return std::make_unique<UnicodeNormalizer>(form);
}

}  // namespace lancet
