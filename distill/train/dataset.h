#pragma once
// Training data: JSON lines of {"messages"}, {"prompt","completion"}, {"text"} or
// {"prompt","chosen","rejected"}, checked whole before the first step, tokenised once, kept in an
// unnamed file beside the output (24 bytes a row in memory).
//
// What counts: of messages the assistant's turns with their end-of-turn token and without their
// header; of a completion its tokens and the end token; of a text all tokens but the first, and the
// end token. Prompts and completions that are strings are taken as they are, those that are lists
// of messages through the chat template.

#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "core/json.h"
#include "distill/train/example.h"
#include "formats/model_source.h"
#include "formats/template/chat_format.h"
#include "formats/tokenizer/tokenizer.h"

namespace lancet {

enum class DataNeed {
  kText,       ///< messages, prompt and completion, or text
  kTeacher,    ///< the same, each with "teacher"
  kPreference  ///< chosen and rejected
};
enum class Overlong { kTruncate, kSkip, kError };
enum class BadRows { kError, kSkip };

/// "truncate", "skip", "error"; kUsage for another word.
[[nodiscard]] Overlong parse_overlong(std::string_view word);
/// "error", "skip"; kUsage for another word.
[[nodiscard]] BadRows parse_bad_rows(std::string_view word);

struct DatasetOptions {
  DataNeed need = DataNeed::kText;
  std::int64_t max_length = 1024;  ///< tokens of a row (of chosen and of rejected each)
  Overlong overlong = Overlong::kTruncate;
  BadRows bad_rows = BadRows::kError;
  bool as_chat = false;  ///< prompt and completion strings are a user's and an assistant's message
  std::vector<std::string> ignored_keys;  ///< members that may stand unused; "*" = any
  double eval_fraction = 0;               ///< of the prompts, held out by their hash; [0, 1)
  std::uint64_t seed = 0;                 ///< of order()
  std::filesystem::path scratch;  ///< tokenised rows wait beside it; empty: in the temporary folder
};

/// What was found. `problems` counts rows by reason: "json", "utf8", "kind", "mixed", "keys",
/// "template", "empty", "overlong", "teacher", "vocabulary".
struct DatasetReport {
  std::uint64_t rows = 0, kept = 0, truncated = 0;
  std::uint64_t overlong_skipped = 0;  ///< with Overlong::kSkip: no problem, left out as told
  std::uint64_t tokens = 0, targets = 0, teacher_targets = 0;
  std::string kind;
  std::vector<std::pair<std::string, std::uint64_t>> problems;
  std::vector<std::string> messages;  ///< the first hundred, "FILE:LINE: ..."
  std::uint64_t bytes = 0;
  double check_seconds = 0, encode_seconds = 0;
};
[[nodiscard]] Json dataset_json(const DatasetReport& report);

class Dataset {
 public:
  /// Checks every row of every file, then tokenises. kInput naming the first bad rows when
  /// bad_rows is kError and there are any; kInput when no row is left; kUsage for what the options
  /// cannot mean; kMismatch for messages and a model without a chat template.
  [[nodiscard]] static Dataset load(const std::vector<std::filesystem::path>& files,
                                    const ModelSource& model, const Tokenizer& tokenizer,
                                    const DatasetOptions& options);
  /// The same with a chat format of its own, or none.
  [[nodiscard]] static Dataset load(const std::vector<std::filesystem::path>& files,
                                    std::optional<ChatFormat> format, const Tokenizer& tokenizer,
                                    const DatasetOptions& options);
  ~Dataset();
  Dataset(Dataset&&) noexcept;
  Dataset& operator=(Dataset&&) noexcept;

  [[nodiscard]] std::size_t size() const noexcept;
  [[nodiscard]] Example example(std::size_t row) const;        ///< not of preferences
  [[nodiscard]] Preference preference(std::size_t row) const;  ///< of preferences only
  /// Tokens of each row (chosen and rejected together).
  [[nodiscard]] std::span<const std::uint32_t> lengths() const noexcept;
  [[nodiscard]] std::span<const std::uint32_t> targets()
      const noexcept;  ///< counted tokens of each
  /// Rows to train on and rows held out, ascending; together all rows.
  [[nodiscard]] std::span<const std::size_t> train_rows() const noexcept;
  [[nodiscard]] std::span<const std::size_t> eval_rows() const noexcept;
  /// train_rows() in the order of one epoch: a permutation by (seed, epoch) alone.
  [[nodiscard]] std::vector<std::size_t> order(std::uint32_t epoch) const;
  /// Prompt and wanted answer of a row as text, for samples.
  struct Sample {
    std::string prompt, answer;
  };
  [[nodiscard]] Sample sample(std::size_t row, const Tokenizer& tokenizer) const;
  [[nodiscard]] const DatasetReport& report() const noexcept;
  /// SHA-256 over the tokenised rows: a resumed run compares it.
  [[nodiscard]] const std::string& hash() const noexcept;

 private:
  struct Impl;
  explicit Dataset(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace lancet
