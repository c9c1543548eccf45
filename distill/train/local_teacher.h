#pragma once
// A teacher that runs beside the student: what it thinks of the rows of a micro-batch. It learns
// nothing and is never sampled from.

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "distill/train/batch.h"
#include "formats/model_source.h"
#include "formats/tokenizer/tokenizer.h"
#include "model/decoder.h"

namespace lancet {

class LocalTeacher {
 public:
  /// Opens the model, without its weights. kMismatch where the loss compares ids and the two
  /// tokenizers are not the same, piece by piece (their hash or the size of the heads says nothing:
  /// files differ, and heads are padded).
  LocalTeacher(const fs::path& model, const Tokenizer& student, const Loss& loss);
  /// Before the first batch.
  void load(const LoadOptions& options);

  /// Fills in what the loss wants of the teacher. teacher, teacher_hidden, shared_vocab: its states
  /// over the same tokens. With a tokenizer of its own it reads each text as its own tokens, and
  /// teacher_row says which rows have read the same bytes. For rollouts: teacher_logprob.
  void teach(MicroBatch& batch) const;

  [[nodiscard]] const ModelSource& source() const noexcept { return source_; }
  /// As model_identity().
  [[nodiscard]] Json identity() const;

 private:
  void read_own(MicroBatch& batch) const;
  [[nodiscard]] at::Tensor states(const std::vector<std::int64_t>& ids,
                                  const std::vector<std::int64_t>& segments,
                                  const std::vector<std::int64_t>& rows) const;

  const Tokenizer& student_;
  LossNeeds needs_;
  ModelSource source_;
  Tokenizer tokenizer_;
  DecoderSpec spec_;
  std::optional<Decoder> decoder_;
  std::int64_t shared_ = 0;  ///< ids that both tokenizers have
};

/// A text of the student's tokens as a teacher with another tokenizer reads it. Special tokens are
/// those of the same name, the end token the teacher's own; others are not said to it. Bytes behind
/// the last whole character are left out.
struct ReadText {
  std::vector<std::int32_t> ids;  ///< the teacher's
  /// For each of the student's tokens: the row of the teacher's (its place less one) that predicts
  /// a token which begins at the same byte; -1 where there is none.
  std::vector<std::int64_t> row;
};
[[nodiscard]] ReadText read_as(const Tokenizer& student, std::span<const std::int64_t> ids,
                               const Tokenizer& teacher);

}  // namespace lancet
