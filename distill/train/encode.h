#pragma once
// A training row as tokens: template, spans, end tokens, truncation, teacher. Const and safe to use
// from many threads.

#include <mutex>
#include <optional>

#include "distill/train/dataset.h"
#include "distill/train/teacher_columns.h"
#include "distill/train/training_row.h"
#include "formats/template/chat_format.h"

namespace lancet {

struct EncodedRow {
  Example chosen;
  std::optional<Example> rejected;  ///< of preferences
  bool truncated = false;
  std::uint64_t prompt_hash = 0;  ///< rows of one prompt have the same
};

class RowEncoder {
 public:
  /// `now`: what templates that print a date are told (seconds since 1970).
  RowEncoder(const Tokenizer& tokenizer, std::optional<ChatFormat> format,
             const DatasetOptions& options, std::int64_t now);

  /// Throws RowProblem: "template", "empty", "overlong", "teacher", "vocabulary".
  [[nodiscard]] EncodedRow encode(const TrainingRow& row) const;

 private:
  const Tokenizer& tokenizer_;
  std::optional<ChatFormat> format_;
  const DatasetOptions& options_;
  std::int64_t now_;
  mutable std::once_flag once_;
  mutable std::optional<PieceTable> pieces_;  ///< made for the first teacher without ids

  struct Tokens;
  [[nodiscard]] Tokens encode_text(const TrainingText& text, RowKind kind) const;
  [[nodiscard]] Tokens encode_chat(const TrainingText& text) const;
  [[nodiscard]] Tokens encode_plain(const TrainingText& text, bool whole) const;
  [[nodiscard]] const PieceTable& pieces() const;
  void add_teacher(const TrainingRow& row, const Tokens& tokens, Example& out) const;
  [[nodiscard]] Example finish(Tokens tokens, bool& truncated) const;
};

}  // namespace lancet
