// Exact duplicates: the first of rows with the same normalised text (NFC, lower case, white space
// collapsed) stays. Compared by the first 128 bits of SHA-256; 16 bytes a row are held.
#include <unordered_map>

#include "core/hash.h"
#include "distill/filter.h"
#include "distill/text/words.h"

namespace lancet {
namespace {

constexpr FilterParameter kParameters[] = {
    part_parameter(),
    {.name = "normalise",
     .kind = FilterParameter::Kind::kFlag,
     .fallback = 1,
     .help = "compare NFC, lower case, with white space collapsed; false: byte for byte"}};

class Exact final : public RowFilter {
 public:
  explicit Exact(const FilterValues& values)
      : part_(values.part()), normalise_(values.flag("normalise")) {}

  std::optional<Drop> inspect(const Row& row, Sketch& sketch) const override {
    const std::string text = row.text(part_);
    const std::string hex = sha256_hex(normalise_ ? normalise_text(text) : text);
    for (std::size_t i = 0; i < 4; ++i)
      sketch.push_back(static_cast<std::uint32_t>(std::stoul(hex.substr(8 * i, 8), nullptr, 16)));
    return std::nullopt;
  }

  std::optional<Drop> decide(const Row& row, const Sketch& sketch) override {
    const Key key{std::uint64_t{sketch[0]} << 32U | sketch[1],
                  std::uint64_t{sketch[2]} << 32U | sketch[3]};
    const auto [first, fresh] = seen_.try_emplace(key, Place{row.source, row.line});
    if (fresh) return std::nullopt;
    return Drop{"duplicate", "of line " + std::to_string(first->second.line) + " of input " +
                                 std::to_string(first->second.source + 1)};
  }

  Json details() const override { return {{"distinct", seen_.size()}}; }

 private:
  using Key = std::pair<std::uint64_t, std::uint64_t>;
  struct Hash {
    std::size_t operator()(const Key& key) const noexcept { return key.first; }
  };
  struct Place {
    std::uint32_t source;
    std::uint64_t line;
  };
  RowPart part_;
  bool normalise_;
  std::unordered_map<Key, Place, Hash> seen_;
};

}  // namespace

extern const Filter filter_exact;
const Filter filter_exact{.name = "exact",
                          .title = "The first of rows with the same normalised text",
                          .source = "",
                          .parameters = kParameters,
                          .make = [](const FilterValues& values, const FilterContext&) {
                            return std::unique_ptr<RowFilter>(std::make_unique<Exact>(values));
                          }};

}  // namespace lancet
