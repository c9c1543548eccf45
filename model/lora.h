#pragma once
// Trainable low-rank parts of linear layers (LoRA, arXiv:2106.09685):
//   y = x W^T + scale * (drop(x) A^T) B^T,  A [rank, d_in], B [d_out, rank], both float32.
// With a magnitude m (DoRA): y_j = m_j / |row j of W + scale B A| times that, the length taken as a
// constant. The base stays as it is. Names, targets, patterns and scales are PEFT's.

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include <ATen/ATen.h>

#include "core/json.h"
#include "formats/adapter/peft.h"
#include "model/lora_settings.h"
#include "model/spec.h"

namespace lancet {

/// What all low-rank parts of one adapter obey; turned between passes, never during one.
struct LoraSwitch {
  bool enabled = true;     ///< false: the base alone
  std::int64_t draw = -1;  ///< which masks of dropout, at most 2^32 - 1; negative: no dropout
};

/// The low-rank part of one stored matrix, a LoRA on the stored module also where it holds several
/// (qkv, gate_up) or lies as [d_in, d_out]. The embeddings are a layer that reads tokens as they
/// are: d_in is the vocabulary, the matrix lies as [d_in, d_out], and nothing is dropped.
struct LowRank {
  std::string module;     ///< "model.layers.0.self_attn.q_proj"
  at::Tensor a;           ///< float32 [rank, d_in], a leaf of the graph
  at::Tensor b;           ///< float32 [d_out, rank], a leaf of the graph
  at::Tensor magnitude;   ///< DoRA: float32 [d_out], a leaf of the graph; else undefined
  at::Tensor base_norms;  ///< DoRA: float64 [d_out], squared lengths of the base's rows
  /// PiSSA, OLoRA: float32 [rank, d_in], [d_out, rank], what A and B began as; the layer is
  /// W + scale (B A - b0 a0). Else undefined.
  at::Tensor a0, b0;
  double scale = 1;
  double dropout = 0;      ///< of the input, in [0, 1)
  std::uint64_t seed = 0;  ///< of the masks, with `module` and the switch's draw
  std::shared_ptr<const LoraSwitch> state;
  std::string tensor = {};  ///< the stored matrix; of a tied head the embeddings' one
  MatrixLayout layout = MatrixLayout::kOutIn;  ///< of it
  bool embedding = false, head = false;        ///< neither: a layer of a block
  std::int64_t first_row = 0;                  ///< which row of the masks the first input has

  [[nodiscard]] bool drops() const { return dropout > 0 && state->draw >= 0; }
  /// With what is taken off: A over a0, and B beside -b0. No gradient.
  [[nodiscard]] at::Tensor all_a() const;
  [[nodiscard]] at::Tensor all_b() const;
  [[nodiscard]] std::int64_t all_rank() const { return a.size(0) * (a0.defined() ? 2 : 1); }
};

class Decoder;

/// Mask times 1 / (1 - p) for the current draw, float32 [rows, d_in]: element i of row r is element
/// (first_row + r) * d_in + i of the random stream, whatever the thread count.
[[nodiscard]] at::Tensor dropout_mask(const LowRank& part, std::int64_t rows);

/// A layer that can have a low-rank part.
struct LinearModule {
  std::string name;        ///< as the Decoder's weights are named, without ".weight"
  std::int64_t layer = 0;  ///< -1: embeddings, head
  std::int64_t d_in = 0, d_out = 0;
  MatrixLayout layout = MatrixLayout::kOutIn;
  bool expert = false;  ///< one of routed experts
  bool embedding = false, head = false;
  std::string tensor = {};  ///< the stored matrix; of a tied head the embeddings' one
};
/// Those of the blocks, in the order of the pass. Stacked experts are no modules.
[[nodiscard]] std::vector<LinearModule> linear_modules(const DecoderSpec& spec);
/// The same between embeddings and head: all that a LoRA can be put on.
[[nodiscard]] std::vector<LinearModule> adaptable_modules(const DecoderSpec& spec);
/// What stands before every module's name in transformers but not in this checkpoint's names.
[[nodiscard]] std::string missing_prefix(const DecoderSpec& spec);

class LoraAdapter {
 public:
  /// New values. kUsage where a setting is out of range or a target, layer or pattern fits nothing.
  LoraAdapter(const DecoderSpec& spec, const LoraSettings& settings, std::uint64_t seed);
  /// The values, ranks and scales of an adapter on disk, to be trained on. kMismatch for what
  /// training cannot continue (whole tensors, factors that are tied to others) and for modules that
  /// do not fit. Copies of the base's own embeddings, which PEFT lays beside factors, are not read.
  /// `dropout` instead of the stored one.
  LoraAdapter(const DecoderSpec& spec, const Adapter& stored, std::optional<double> dropout,
              std::uint64_t seed);

  /// In the order of the pass.
  [[nodiscard]] const std::vector<std::shared_ptr<LowRank>>& parts() const noexcept {
    return parts_;
  }
  [[nodiscard]] LoraParts by_module() const;
  /// Computes what depends on the base's values: magnitudes and lengths of DoRA, the factors of
  /// PiSSA and OLoRA. Once, before the first pass and before a checkpoint is read.
  void prepare(const Decoder& base);
  [[nodiscard]] LoraSwitch& state() const noexcept { return *state_; }
  /// Whether the parts begin as parts of the base (PiSSA, OLoRA).
  [[nodiscard]] bool decomposed() const noexcept {
    return !stored_ && (init_ == LoraInit::kPissa || init_ == LoraInit::kOlora);
  }
  /// Leaves of the graph: A and B of every part in turn, then the magnitudes.
  [[nodiscard]] std::vector<at::Tensor> parameters() const;
  [[nodiscard]] std::int64_t parameter_count() const;
  /// What adapter_config.json says, without base_model_name_or_path.
  [[nodiscard]] const Json& config() const noexcept { return config_; }
  /// The module's name in an adapter: with the prefix that some checkpoints leave out.
  [[nodiscard]] std::string file_name(const LowRank& part) const {
    return part.head ? part.module : prefix_ + part.module;
  }

 private:
  void add(const LinearModule& module, at::Tensor a, at::Tensor b, double scale,
           at::Tensor magnitude = {});

  std::string prefix_;
  double dropout_ = 0;
  std::uint64_t seed_ = 0;
  LoraInit init_ = LoraInit::kKaiming;
  std::int64_t pissa_iterations_ = 0;
  bool stored_ = false;  ///< values of an adapter on disk
  std::vector<std::shared_ptr<LowRank>> parts_;
  std::shared_ptr<LoraSwitch> state_ = std::make_shared<LoraSwitch>();
  Json config_;
};

}  // namespace lancet
