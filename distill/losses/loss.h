#pragma once
// A training loss: one file in distill/losses/, ending in its descriptor `loss_NAME`. A loss reads
// the hidden states that leave the last block and runs final norm and head itself, for so few
// rows at a time that the logits of a batch never exist (ops/head_rows.h).
//
// Sums, not means: results of micro-batches and of ranks add, and the caller divides by the global
// count. On the CPU the same bits for any thread count and any division of the rows into calls.

#include <cstdint>
#include <map>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include <ATen/ATen.h>

#include "core/json.h"
#include "model/decoder.h"

namespace lancet {

/// An option of a loss: ranged and documented here and nowhere else.
struct LossParameter {
  enum class Kind { kNumber, kInteger, kFlag, kWord };
  std::string_view name;
  Kind kind = Kind::kNumber;
  double fallback = 0;
  double minimum = 0, maximum = 0;  ///< inclusive
  std::string_view help;
  std::span<const std::string_view> choices = {};  ///< of a word, whose value is its position here
};

struct Loss;

/// A loss with a value for each of its parameters.
struct LossOptions {
  const Loss* loss = nullptr;
  std::vector<double> values;  ///< in the order of loss->parameters

  [[nodiscard]] double number(std::string_view name) const;  ///< kInternal where it has none such
  [[nodiscard]] bool flag(std::string_view name) const { return number(name) != 0; }
  [[nodiscard]] std::string_view word(std::string_view name) const;
  /// {name, parameters...}: for logs and the identity of a run.
  [[nodiscard]] Json json() const;
};

/// What the rows of `hidden` are held to. Row i predicts token next[i]; the other parts are for the
/// losses that need them (Loss::needs).
struct LossTargets {
  std::vector<std::int32_t> next;  ///< [n]
  std::vector<float> weight;       ///< [n], multiplies the row's loss, or empty: 1 each

  /// The teacher's most likely tokens of row i: entries [top_begin[i], top_begin[i + 1]). Natural
  /// logarithms at temperature 1. [n + 1], or empty. A row without entries has no teacher.
  std::vector<std::int64_t> top_begin;
  std::vector<std::int32_t> top_ids;
  std::vector<float> top_logprobs;

  /// A teacher that runs here: its final norm and head on teacher_hidden [rows, d_teacher], the
  /// states that leave its last block (no gradient). teacher_row[i]: the row that stands beside
  /// ours, -1 for none; empty: the same number.
  const Decoder* teacher = nullptr;
  at::Tensor teacher_hidden;
  std::vector<std::int64_t> teacher_row;
  /// Leading ids that mean the same in both models; 0: as many as the smaller head has. Entries
  /// behind them (padding of the vocabulary) are left out of both distributions.
  std::int64_t shared_vocab = 0;

  /// Rows of sequence s: [sequence_begin[s], sequence_begin[s + 1]). Preferences: sequences 2i and
  /// 2i + 1 are the chosen and the rejected answer of pair i.
  std::vector<std::int64_t> sequence_begin;
  std::vector<double> reference;  ///< [n] log p(next[i]) of the frozen reference model

  // Of answers that the student itself has sampled.
  std::vector<double> teacher_logprob;   ///< [n] log p(next[i]) of the teacher
  std::vector<double> sampling_logprob;  ///< [n] log q(next[i]) when it was sampled
};

/// A figure beside the loss, for logs: a sum over `count`, too.
struct LossMetric {
  std::string_view name;
  double sum = 0;
};

struct LossResult {
  at::Tensor sum;          ///< float64 scalar, differentiable with respect to `hidden`
  std::int64_t count = 0;  ///< what `sum` is divided by: rows, or pairs of sequences
  double ce = 0;           ///< sum of -log q(next) over `count`, without weights
  double kd = 0;           ///< sum of the distillation term over teacher_rows, without weights
  double coverage = 0;  ///< sum over teacher_rows of the teacher's probability that we were given
  std::int64_t teacher_rows = 0;
  std::vector<LossMetric> metrics;
};

/// Which parts of LossTargets a loss reads beside `next`.
struct LossNeeds {
  bool top = false;            ///< top_begin, top_ids, top_logprobs
  bool teacher = false;        ///< teacher, teacher_hidden
  bool own_tokenizer = false;  ///< that teacher may have another vocabulary (teacher_row)
  bool pairs = false;          ///< sequence_begin, chosen and rejected in turn
  bool reference = false;      ///< reference
  bool rollouts = false;       ///< sequence_begin, teacher_logprob, sampling_logprob
};

struct Loss {
  std::string_view name;  ///< file name and `--loss`
  std::string_view title;
  std::string_view paper;  ///< arXiv id, or where it comes from
  LossNeeds needs;
  std::span<const LossParameter> parameters;
  LossResult (*run)(const Decoder& model, const at::Tensor& hidden, const LossTargets& targets,
                    const LossOptions& options) = nullptr;
};

[[nodiscard]] std::span<const Loss* const> loss_registry();
/// kUsage with "did you mean".
[[nodiscard]] const Loss& find_loss(std::string_view name);
/// Defaults filled in. Unknown names are Error(kUsage) with "did you mean"; values out of range
/// name the range.
[[nodiscard]] LossOptions loss_options(std::string_view loss,
                                       const std::map<std::string, std::string>& given = {});

/// hidden [n, d_model] leaving the last block: the rows that predict a target. Final norm and head
/// included. Targets that do not fit (lengths, ids outside the vocabulary, a missing part) are
/// Error(kInput) naming the row.
[[nodiscard]] LossResult head_loss(const Decoder& model, const at::Tensor& hidden,
                                   const LossTargets& targets, const LossOptions& options);

/// log p(next[i]) after hidden[i]: float64 [n], differentiable. The reference of preferences, the
/// sampling probabilities of rollouts and a teacher's scores of them, with the bits that the losses
/// see.
[[nodiscard]] at::Tensor token_logprobs(const Decoder& model, const at::Tensor& hidden,
                                        std::span<const std::int32_t> next);

/// Bytes that head_loss holds beside its arguments for n rows of this model on the CPU, at most.
[[nodiscard]] std::uint64_t head_loss_bytes(const DecoderSpec& model, std::int64_t n,
                                            const Loss& loss);

}  // namespace lancet
