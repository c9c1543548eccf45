#pragma once
// The one forward pass. Weights are shared and never written; copies of a Decoder are cheap
// (tensors are reference-counted), `with_weight` gives a model that differs in one matrix.
//
// Determinism on CPU: a pass over one batch on one thread gives the same bits for any thread count
// of the process; callers that promise bytes (edit) split batches into fixed chunks and run these
// on the pool. Thread rule: const methods may run concurrently.

#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include <ATen/ATen.h>

#include "formats/model_source.h"
#include "model/architecture.h"
#include "model/kv_cache.h"
#include "model/lora_settings.h"
#include "model/packed_matrix.h"
#include "model/placement.h"
#include "model/rope.h"
#include "model/row_form.h"

namespace lancet {

struct Linear;
class PassState;

/// Where a hook sees (and may replace) a value, in the order of one block.
enum class Place {
  kBlockInput,       ///< residual stream entering the block            [batch, tokens, d_model]
  kAttentionOutput,  ///< output of o_proj (of a state space: its output projection), before norm
                     ///< and add                               [batch, tokens, d_model]
  kExpertInput,      ///< what a layer of experts reads, router and all    [batch, tokens, d_model];
                     ///< in no other layer
  kMlpKey,           ///< input of the down projection: the "key" k     [batch, tokens, d_ff];
                     ///< not in a layer of experts, which have a key each. Neither this nor the
                     ///< next in a layer without an MLP
  kMlpOutput,   ///< output of the down projection (of all experts), before a norm of it and the
                ///< add                                           [batch, tokens, d_model]
  kBlockOutput  ///< residual stream leaving the block             [batch, tokens, d_model]
};

/// Returns the value to go on with (the same tensor to leave it). Runs on the thread of the pass.
using Hook = std::function<at::Tensor(std::int64_t layer, Place place, const at::Tensor& value)>;

/// Thrown by a hook to end a pass early: `run` returns the last block input it had. Used when
/// nothing above the hook is needed (key extraction, covariance).
struct StopPass {};

struct Pass {
  /// Earlier tokens: row b's positions start at cache->lengths()[b]. Null = start at 0.
  KvCache* cache = nullptr;
  /// Write this pass's keys and values into the cache (not differentiable). The caller advances
  /// afterwards.
  bool append = false;
  /// Real tokens of each row (right padding behind them); empty = all.
  std::vector<std::int64_t> lengths;
  /// Texts that lie one behind the other in the batch's only row: their lengths, which sum to its
  /// tokens. Each has positions of its own and sees nothing of the others. With a cache, row b of
  /// it stands before text b; nothing is appended. Empty = none.
  std::vector<std::int64_t> segments;
  /// int64 [n], positions in batch * tokens: the run returns [1, n, d_model], the stream there. Its
  /// last block computes nothing else behind its attention, so that its hooks see as much from
  /// kAttentionOutput on. Undefined = all.
  at::Tensor wanted = {};
  Hook hook;
};

/// Where matrices lie that memory holds as their file does. kCopied: in huge pages, from which a
/// token is decoded an eighth faster. kMapped: in the system's cache of the file, which processes
/// share and which outlives them, without a second copy. kAuto: mapped where a copy would take more
/// than half of the memory that is left.
enum class Residence { kAuto, kCopied, kMapped };

struct LoadOptions {
  /// Weights and activations: kFloat or kBFloat16. On the CPU matrices that the file has in 16 bits
  /// stay so in memory for kFloat: the same bits, since products widen them exactly.
  at::ScalarType dtype = at::kFloat;
  at::Device device = at::kCPU;
  /// Of the linear layers of the blocks (experts that are tensors of their own too); embeddings,
  /// head, norms and routers keep `dtype`. CPU only. Nothing but passes and low-rank parts work on
  /// packed matrices.
  BaseQuant quant = BaseQuant::kNone;
  /// Matrices stay in their files and are read where a product needs them: memory holds vectors,
  /// what was put in by with_weight, and activations. The same bits. CPU only, without `quant`.
  bool offload = false;
  /// On the CPU.
  Residence residence = Residence::kAuto;
  /// In front of products with the matrices, but those of routers. kTerms: CPU only, with AMX.
  /// kRounded, as PyTorch does it: CPU only, with kBFloat16, without `quant` and `offload`.
  RowForm rows = RowForm::kPlain;
  /// Where there are several: what each can hold (`device` the first). Blocks are placed over as
  /// many as it takes.
  std::vector<Room> rooms = {};
};

/// The down projection of a block, the matrix that editors rewrite.
struct MatrixRef {
  std::string name;  ///< Hugging Face tensor name
  MatrixLayout layout;
  std::int64_t d_out, d_in;
  std::int64_t expert = -1;  ///< this slice of the stacked tensor `name`
};

struct TargetScore {
  double logprob = 0;     ///< nats
  std::int64_t rank = 0;  ///< 1 + how many tokens have a larger logit
};

class Decoder {
 public:
  /// The spec of a model, with names as its file has them.
  [[nodiscard]] static DecoderSpec describe(const ModelSource& source);
  /// Missing or misshapen tensors are Error(kMismatch) with name, expected and found shape.
  [[nodiscard]] static Decoder load(const ModelSource& source, const LoadOptions& options = {});

  [[nodiscard]] const DecoderSpec& spec() const noexcept { return *spec_; }
  [[nodiscard]] at::TensorOptions options() const noexcept;  ///< dtype and device of activations
  /// What else but weights and device moves more than roundings of a pass, for identities of what
  /// is cached.
  [[nodiscard]] std::string activation_name() const;

  /// ids int64 [batch, tokens] -> [batch, tokens, d_model]. Ids outside the vocabulary are
  /// Error(kInput). Differentiable with respect to a low-rank part of the embeddings.
  [[nodiscard]] at::Tensor embed(const at::Tensor& ids) const;
  /// Blocks [first, last), wherever they are placed: what goes in, what hooks see and what comes
  /// out is on the device of options(). Hidden states entering block `first` -> leaving block `last
  /// - 1`. What enters block 0 is embed()'s result; a pass that begins there adds learned positions
  /// to it. Differentiable with respect to `hidden`, to low-rank parts and to whatever hooks put in
  /// (weights are constants).
  [[nodiscard]] at::Tensor run(at::Tensor hidden, std::int64_t first, std::int64_t last,
                               const Pass& pass = {}) const;
  /// Final norm and head: [..., d_model] -> float32 logits [..., vocab]. Differentiable.
  [[nodiscard]] at::Tensor head(const at::Tensor& hidden) const;
  /// What the head multiplies: the final norm (and, where the family has it, projection) alone.
  [[nodiscard]] at::Tensor final_norm(const at::Tensor& hidden) const;
  /// What follows the final norm: [..., d_model] -> float32 logits. head(x) is
  /// logits(final_norm(x)). `first_row`: the number of the first row among those of a pass, for the
  /// masks of a low-rank part's dropout.
  [[nodiscard]] at::Tensor logits(const at::Tensor& normed, std::int64_t first_row = 0) const;
  /// The head's matrix and bias; scale, softcap and masked ids of the spec come on top of it.
  [[nodiscard]] const Linear& head_linear() const noexcept;
  /// Log probability and rank of targets[i] after hidden[i], hidden [count, d_model] leaving the
  /// last block. The logits of one block of positions and one slice of the vocabulary exist at a
  /// time. Not differentiable.
  [[nodiscard]] std::vector<TargetScore> score_targets(const at::Tensor& hidden,
                                                       std::span<const std::int32_t> targets) const;
  /// embed + run + head over all positions.
  [[nodiscard]] at::Tensor forward(const at::Tensor& ids, const Pass& pass = {}) const;

  /// In a layer of experts, of one of them; kMismatch where none is named, or the layer has no MLP.
  [[nodiscard]] MatrixRef mlp_down(std::int64_t layer, std::int64_t expert = -1) const;
  /// In a layer of experts: [rows, d_model] at kExpertInput -> the keys of all routed experts, one
  /// behind the other, each times the weight of its expert and zero where that is not chosen:
  /// [rows, experts * d_ff]. What the routed experts write is this times [W_0 | W_1 | ...]^T with
  /// W_e [d_model, d_ff] their down projections (biases apart). kMismatch in another layer.
  [[nodiscard]] at::Tensor expert_keys(std::int64_t layer, const at::Tensor& read) const;
  /// In the dtype of the model (vectors on the CPU: float32); one that stays in its file is read.
  /// kMismatch if unknown.
  [[nodiscard]] at::Tensor weight(std::string_view name) const;
  [[nodiscard]] at::Tensor weight(const MatrixRef& matrix) const;
  /// The values of a matrix as float32 on the CPU, decoded where it is packed.
  [[nodiscard]] at::Tensor matrix(std::string_view name) const;
  /// Whether matrices stay in their files.
  [[nodiscard]] bool offloaded() const noexcept { return ahead_ != nullptr; }
  /// Whether low-rank parts take part in its products.
  [[nodiscard]] bool adapted() const noexcept { return !low_rank_.empty(); }
  /// Bytes of all weights as they lie in memory.
  [[nodiscard]] std::uint64_t weight_bytes() const;
  /// Names of all weights, sorted.
  [[nodiscard]] std::vector<std::string> weight_names() const;
  /// The same model with one weight replaced (shape, dtype and device as weight() has them).
  [[nodiscard]] Decoder with_weight(std::string_view name, const at::Tensor& value) const;
  /// The same model with W + `change` [d_out, d_in] in place of W, in the dtype and layout of W.
  /// Not for a slice of a stacked tensor.
  [[nodiscard]] Decoder with_change(const MatrixRef& matrix, const at::Tensor& change) const;
  /// The same model with these low-rank parts on its linear layers, embeddings and head, instead of
  /// any it had.
  /// kInternal where one has no layer or does not fit.
  [[nodiscard]] Decoder with_low_rank(LoraParts parts) const;
  /// The same model for tokens one by one: where products are in terms, it takes plain ones, which
  /// are faster for a few rows.
  [[nodiscard]] Decoder for_steps() const;
  /// The same model that never says these ids, in place of those of its spec.
  [[nodiscard]] Decoder with_masked_ids(std::vector<IdRange> masked) const;

 private:
  struct Block;
  struct Ends;
  Decoder() = default;
  void bind();
  void load_weights(const ModelSource& source, const LoadOptions& options);
  void leave_in_files(const ModelSource& source);
  [[nodiscard]] const at::Tensor& stored(std::string_view name) const;
  /// A weight as others see it: in the dtype of the model.
  [[nodiscard]] at::Tensor shown(const at::Tensor& stored) const;
  [[nodiscard]] MatrixRef matrix_ref(std::string name, MatrixLayout layout) const;
  [[nodiscard]] at::Device place_of(std::int64_t layer) const {
    return places_.empty() || layer < 0 ? device_ : places_[static_cast<std::size_t>(layer)];
  }
  [[nodiscard]] at::Tensor add_positions(const at::Tensor& hidden, const Pass& pass) const;
  /// `wanted` as in Pass.
  [[nodiscard]] at::Tensor run_block(std::int64_t layer, const at::Tensor& hidden, PassState& pass,
                                     const Hook& hook, const at::Tensor& wanted) const;
  std::shared_ptr<const DecoderSpec> spec_;
  at::ScalarType dtype_ = at::kFloat;
  at::Device device_ = at::kCPU;
  std::vector<at::Device> places_;  ///< of the blocks; empty = all on device_
  RowForm rows_ = RowForm::kPlain;
  std::unordered_map<std::string, at::Tensor> weights_;
  /// In few bits or in files: their entry in weights_ has the shape alone.
  std::unordered_map<std::string, std::shared_ptr<const PackedMatrix>> packed_;
  /// Matrices in files that every pass through a layer reads; null where none are.
  std::shared_ptr<const std::vector<std::vector<std::shared_ptr<const PackedMatrix>>>> ahead_;
  LoraParts low_rank_;
  std::vector<std::shared_ptr<const Block>> blocks_;
  std::shared_ptr<const Ends> ends_;
  std::shared_ptr<const std::vector<RopeCache>> ropes_;
};

}  // namespace lancet
