// Rows that a trainer can use: a known kind, no empty text, roles that take turns and end with the
// assistant, no damage (U+FFFD, NUL and other controls) in the texts.
#include <fmt/format.h>

#include "distill/filter.h"
#include "formats/tokenizer/unicode.h"

namespace lancet {
namespace {

constexpr FilterParameter kParameters[] = {
    {.name = "turns",
     .kind = FilterParameter::Kind::kFlag,
     .fallback = 1,
     .help = "messages: at most one system first, then user and assistant in turn, tool after "
             "assistant, assistant last"},
    {.name = "damage",
     .kind = FilterParameter::Kind::kFlag,
     .fallback = 1,
     .help = "drop texts with U+FFFD or control characters other than tab and line ends"}};

/// The first damaged character, or 0.
char32_t damage_in(std::string_view text) {
  for (std::size_t at = 0; at < text.size();) {
    const char32_t c = decode_at(text.data(), at);
    const bool control = (c < 0x20 && c != '\n' && c != '\t' && c != '\r') || c == 0x7F;
    if (control || c == 0xFFFD) return c == 0 ? 0x2400 : c;  // NUL by its symbol
  }
  return 0;
}

std::optional<Drop> check_turns(const Row& row) {
  std::string before;
  for (const RowTurn& turn : row.turns) {
    const bool known = turn.role == "system" || turn.role == "developer" || turn.role == "user" ||
                       turn.role == "assistant" || turn.role == "tool";
    if (!known) return Drop{"unknown role", turn.role};
    const bool start = before.empty() || before == "system";
    const bool fits = turn.role == "user"        ? start || before == "assistant"
                      : turn.role == "assistant" ? before == "user" || before == "tool"
                      : turn.role == "tool"      ? before == "assistant" || before == "tool"
                                                 : before.empty();
    if (!fits)
      return Drop{"roles out of turn",
                  fmt::format("{} after {}", turn.role, before.empty() ? "nothing" : before)};
    before = turn.role == "developer" ? "system" : turn.role;
  }
  if (before != "assistant") return Drop{"no assistant at the end", before};
  return std::nullopt;
}

class Validity final : public RowFilter {
 public:
  explicit Validity(const FilterValues& values)
      : turns_(values.flag("turns")), damage_(values.flag("damage")) {}

  std::optional<Drop> inspect(const Row& row, Sketch&) const override {
    if (row.kind == RowKind::kUnknown) return Drop{"unknown kind of row", ""};
    if (row.turns.empty()) return Drop{"no messages", ""};
    for (const RowTurn& turn : row.turns) {
      const bool blank = turn.content.find_first_not_of(" \t\r\n") == std::string::npos;
      // An assistant's turn may be empty beside its tool calls, which a tool's turn answers.
      const bool calls = turn.role == "assistant" && &turn != &row.turns.back();
      if (blank && !calls && turn.role != "system" && turn.role != "tool")
        return Drop{"empty text", turn.role};
      if (!damage_) continue;
      if (const char32_t c = damage_in(turn.content))
        return Drop{"damaged text", fmt::format("U+{:04X}", static_cast<std::uint32_t>(c))};
    }
    return turns_ && row.kind == RowKind::kMessages ? check_turns(row) : std::nullopt;
  }

 private:
  bool turns_, damage_;
};

}  // namespace

extern const Filter filter_validity;
const Filter filter_validity{
    .name = "validity",
    .title = "Known kinds, texts that are there, roles in turn, no damage",
    .source = "",
    .parameters = kParameters,
    .make = [](const FilterValues& values, const FilterContext&) {
      return std::unique_ptr<RowFilter>(std::make_unique<Validity>(values));
    }};

}  // namespace lancet
