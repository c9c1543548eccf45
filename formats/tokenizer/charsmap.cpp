#include "formats/tokenizer/charsmap.h"

#include <utility>

#include <fmt/format.h>

#include "core/base64.h"
#include "core/bytes.h"
#include "core/text.h"
#include "formats/tokenizer/graphemes.h"
#include "formats/tokenizer/unicode.h"

namespace lancet {
namespace {

constexpr std::size_t kClusterBytes = 6;  // longer clusters are looked up by character only

// A unit of the array: 8 bits of label, a leaf flag, an offset with a scale flag; or a value.
bool has_leaf(std::uint32_t unit) { return (unit >> 8U & 1U) != 0; }
std::uint32_t label(std::uint32_t unit) { return unit & (1U << 31U | 0xFFU); }
std::uint32_t offset(std::uint32_t unit) { return (unit >> 10U) << ((unit & (1U << 9U)) >> 6U); }
std::uint32_t value(std::uint32_t unit) { return unit & ~(1U << 31U); }

class Precompiled : public Normalizer {
 public:
  explicit Precompiled(Charsmap charsmap) : charsmap_(std::move(charsmap)) {}

  Segment apply(const Segment& segment, TextArena& arena) const override {
    SegmentBuilder builder(segment, arena);
    const std::string_view text = segment.text;
    bool changed = false;
    const auto put = [&](std::size_t begin, std::size_t end) {
      const auto found = charsmap_.find(text.substr(begin, end - begin));
      if (found) builder.put(*found, begin, end);
      changed = changed || found.has_value();
      return found.has_value();
    };
    for (std::size_t begin = 0; begin < text.size();) {
      const std::size_t end = grapheme_end(text, begin);
      if (end - begin >= kClusterBytes || !put(begin, end)) {
        for (std::size_t at = begin; at < end;) {
          const std::size_t first = at;
          static_cast<void>(decode_at(text.data(), at));
          if (!put(first, at)) builder.keep(first, at);
        }
      }
      begin = end;
    }
    return changed ? builder.finish() : segment;
  }

 private:
  Charsmap charsmap_;
};

}  // namespace

Charsmap::Charsmap(std::string_view blob, const Where& where) {
  const std::size_t bytes = blob.size() < 4 ? SIZE_MAX : load_le<std::uint32_t>(blob.data());
  if (bytes > blob.size() - 4 || bytes % 4 != 0 || bytes == 0) {
    where.fail_input(fmt::format("expected a charsmap, found {} bytes that are none", blob.size()));
  }
  units_.resize(bytes / 4);
  for (std::size_t i = 0; i < units_.size(); ++i)
    units_[i] = load_le<std::uint32_t>(blob.data() + 4 + 4 * i);
  texts_ = blob.substr(4 + bytes);
  if (find_invalid_utf8(texts_)) where.fail_input("the texts of the charsmap are not UTF-8");
}

std::string_view Charsmap::text_at(std::uint32_t offset) const noexcept {
  if (offset >= texts_.size()) return {};
  const std::string_view rest = std::string_view(texts_).substr(offset);
  return rest.substr(0, rest.find('\0'));
}

template <typename Found>
void Charsmap::keys(std::string_view text, Found&& found) const {
  std::uint32_t node = offset(units_[0]);
  for (std::size_t i = 0; i < text.size() && text[i] != '\0'; ++i) {
    const auto byte = static_cast<std::uint8_t>(text[i]);
    node ^= byte;
    if (node >= units_.size() || label(units_[node]) != byte) return;
    const std::uint32_t unit = units_[node];
    node ^= offset(unit);
    if (node >= units_.size()) return;
    if (has_leaf(unit) && !found(i + 1, text_at(value(units_[node])))) return;
  }
}

std::optional<std::string_view> Charsmap::find(std::string_view text) const noexcept {
  std::optional<std::string_view> out;
  keys(text, [&](std::size_t, std::string_view found) {
    out = found;
    return false;
  });
  return out;
}

std::optional<std::pair<std::size_t, std::string_view>> Charsmap::find_longest(
    std::string_view text) const noexcept {
  std::optional<std::pair<std::size_t, std::string_view>> out;
  keys(text, [&](std::size_t length, std::string_view found) {
    out.emplace(length, found);
    return true;
  });
  return out;
}

std::unique_ptr<Normalizer> precompiled_normalizer(const Json& description, const Where& where) {
  const Where here = where.key("precompiled_charsmap");
  const Json& text = where.member(description, "precompiled_charsmap");
  if (text.is_null()) return nullptr;
  const auto blob = decode_base64(where.string(description, "precompiled_charsmap"));
  if (!blob) here.fail_input("expected base64");
  if (blob->empty()) return nullptr;
  return std::make_unique<Precompiled>(Charsmap(*blob, here));
}

}  // namespace lancet
