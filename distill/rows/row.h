#pragma once
// One line of training data: JSON whose top-level members are kept as they were written, with the
// texts of the known kinds taken out (docs/cli.md, Training data).

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "core/json.h"

namespace lancet {

enum class RowKind { kMessages, kPromptCompletion, kPreference, kText, kUnknown };
/// "messages", "prompt_completion", "preference", "text", "unknown".
[[nodiscard]] std::string_view row_kind_name(RowKind kind) noexcept;

struct RowTurn {
  std::string role;  ///< as in the row; "user"/"assistant" for prompt/completion, "chosen",
                     ///< "rejected", "text"
  std::string content;
};

/// Which of a row's texts a filter looks at.
enum class RowPart {
  kAll,
  kPrompt,   ///< everything that is no response
  kResponse  ///< assistant, chosen, text
};

struct Row {
  struct Member {
    std::string key;
    std::string_view text;   ///< key, colon and value as written
    std::string_view value;  ///< the value alone
  };

  std::string_view raw;      ///< the line; `members` view into it
  std::uint32_t source = 0;  ///< index of the input file
  std::uint64_t line = 0;    ///< from 1
  std::string id;            ///< member "id", a string or a number; may be empty
  RowKind kind = RowKind::kUnknown;
  std::vector<RowTurn> turns;
  std::vector<Member> members;

  /// The contents of a part, joined by newlines.
  [[nodiscard]] std::string text(RowPart part = RowPart::kAll) const;
  /// Null when there is none. `path` may go into objects: "judge.score".
  [[nodiscard]] Json value(std::string_view path) const;
  [[nodiscard]] const Member* find(std::string_view key) const noexcept;
};

/// Error(kInput) for what is not one JSON object in valid UTF-8, for a key that occurs twice, and
/// for a known kind whose members have other types ("messages" that is no array ...).
/// `raw` must outlive the row. `where` ("FILE:LINE") stands in the message.
[[nodiscard]] Row parse_row(std::string_view raw, std::string_view where);

/// The row's members as they were, with `provenance` as the last one.
[[nodiscard]] std::string row_text(const Row& row, const Json& provenance);

}  // namespace lancet
