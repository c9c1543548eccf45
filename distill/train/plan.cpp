#include "distill/train/plan.h"

#include <algorithm>
#include <string>
#include <vector>

#include <fmt/format.h>

#include "core/bytes.h"
#include "core/error.h"
#include "core/memory.h"
#include "core/text.h"
#include "distill/losses/ops/head_rows.h"
#include "distill/train/epochs.h"
#include "distill/train/optimizer.h"
#include "distill/train/probe.h"
#include "model/load_options.h"
#include "model/names.h"

namespace lancet {
namespace {

constexpr std::uint64_t kProgram = 140ULL << 20;  ///< libraries and what the allocator keeps
/// Of a kept value: with what large pages round up (measured).
constexpr double kStateBytes = 4 * 1.03;
/// Of a step that is products: the others are norms, activations, the optimizer (fitted to eight
/// settings, docs/performance.md).
constexpr double kShareOfStep = 0.95;
constexpr double kAttentionSpeed = 0.5;  ///< beside a product of the blocks

/// The largest micro-batch: tokens and rows with a target.
struct Largest {
  std::int64_t tokens = 0, rows = 0;
};

/// Numbers of values that a token leaves behind in the layers [first, last).
double kept_values(const PlanInput& in, std::int64_t layers) {
  const DecoderSpec& s = in.spec;
  const AttentionSpec& a = s.attention;
  const auto d = static_cast<double>(s.d_model);
  const auto q = static_cast<double>(a.heads * a.d_head);
  const auto kv = static_cast<double>(a.kv_heads * a.d_head);
  const auto ff = static_cast<double>(s.mlp.d_ff);
  // Gate, its activation, up and the product; the stream and its norm, twice; q, k, v; attention's
  // output. What can be made again is not kept (model/derived.h).
  const bool remade = s.mlp.activation == Activation::kSilu;
  const double inner = s.mlp.gated && !remade ? 4 * ff : 2 * ff;
  const double streams = s.norm.kind == NormKind::kRms ? 2 * d : 4 * d;
  double each = streams + 2 * q + 2 * kv + inner;
  if (!s.names.attn_post_norm.empty()) each += 2 * d;
  if (a.qk_norm != QkNormWidth::kNone) each += q + kv;  // before their norms
  std::int64_t rank = 0;
  const bool doubled = in.adapter.decomposed();
  for (const auto& part : in.adapter.parts()) {
    if (part->head) continue;  // nothing is kept of it
    rank += part->a.size(0) * (doubled ? 2 : 1);
    if (part->magnitude.defined()) rank += part->b.size(0);  // what is scaled
  }
  return each * static_cast<double>(layers) +
         static_cast<double>(rank) * static_cast<double>(layers) / static_cast<double>(s.layers);
}

Largest largest_batch(const PlanInput& in) {
  const auto packs = make_packs(in.data, in.data.train_rows(), in.request);
  Largest out;
  const std::int64_t answer = in.loss.needs.rollouts ? in.request.rollout_tokens : 0;
  for (const Pack& pack : packs) {
    std::int64_t rows = 0;
    for (const std::size_t row : pack.examples) rows += in.data.targets()[row];
    std::int64_t tokens = pack.tokens;
    if (in.loss.needs.rollouts) {
      const std::int64_t sampled = answer * static_cast<std::int64_t>(pack.examples.size());
      tokens += sampled - rows;
      rows = sampled;
    }
    out.tokens = std::max(out.tokens, tokens);
    out.rows = std::max(out.rows, rows);
  }
  return out;
}

/// Tokens that a token sees on the average: half of its text.
double mean_context(const Dataset& data) {
  double squares = 0, sum = 0;
  for (const std::size_t row : data.train_rows()) {
    const auto length = static_cast<double>(data.lengths()[row]);
    squares += length * length;
    sum += length;
  }
  return sum > 0 ? squares / sum / 2 : 0;
}

/// Of one value; of a file's own blocks, which have at most 8 bits and a half, the most.
double packed_bytes(BaseQuant quant) {
  if (quant == BaseQuant::kNf4) return 0.5 + 1.0 / kNf4Block;
  return quant == BaseQuant::kInt8 || quant == BaseQuant::kFp8 ? 1 : 34.0 / 32;
}

/// Of a value of the tensor in memory, unpacked; of none where there is no such tensor, which
/// loading says.
double width_of(const ModelSource& source, const std::string& tensor, const LoadOptions& options) {
  const TensorInfo* const info = source.find(tensor);
  if (info == nullptr) return 0;
  return static_cast<double>(at::elementSize(dtype_in_memory(source, *info, options)));
}

struct Sizes {
  double bytes = 0;    ///< of all weights
  double largest = 0;  ///< values of the largest group of matrices merged at once
};

Sizes sizes_of(const PlanInput& in) {
  const DecoderSpec& s = in.spec;
  Sizes out;
  out.bytes = static_cast<double>(weight_sizes(in.source, in.options).loaded);
  const BaseQuant quant = parse_base_quant(in.request.base_quant);
  for (const LinearModule& module : linear_modules(s)) {
    const auto values = static_cast<double>(module.d_in * module.d_out);
    if (quant != BaseQuant::kNone)
      out.bytes +=
          values * (packed_bytes(quant) - width_of(in.source, module.name + ".weight", in.options));
    out.largest = std::max(out.largest, 2 * values);
  }
  return out;
}

/// Values whose sums a head's part makes beside its gradients: the gradient of a chunk, turned, and
/// the logits once more where rows are scaled.
double head_part_values(const PlanInput& in, std::int64_t rows) {
  for (const auto& part : in.adapter.parts()) {
    if (!part->head) continue;
    const auto vocab = static_cast<double>(in.spec.vocab);
    const auto chunk = static_cast<double>(std::min(rows, losses::rows_at_once(in.spec.vocab)));
    const auto factors = static_cast<double>(part->a.numel() + part->b.numel());
    return 3 * factors + (part->magnitude.defined() ? 2 * chunk * vocab : 0);
  }
  return 0;
}

/// Seconds of one token.
double seconds_of(const PlanInput& in, std::int64_t tokens, bool again) {
  const AttentionSpec& a = in.spec.attention;
  LayerForm form{parse_base_quant(in.request.base_quant), in.options.dtype, in.options.rows};
  for (const LinearModule& module : linear_modules(in.spec)) {
    const TensorInfo* const info = in.source.find(module.name + ".weight");
    if (info != nullptr) form.dtype = dtype_in_memory(in.source, *info, in.options);
  }
  const LayerTimes times = probe_layers(in.spec, in.adapter, tokens, form);
  const auto& report = in.data.report();
  const double counted =
      report.tokens > 0 ? static_cast<double>(report.targets) / static_cast<double>(report.tokens)
                        : 1;
  const double seen =
      static_cast<double>(in.spec.layers * a.heads * a.d_head) * mean_context(in.data);
  const double passes = again ? 1.5 : 1;  // two of three once more
  const double attention = 4 * (2 * passes + 1.5) * seen / (times.speed * kAttentionSpeed);
  const double products = passes * times.blocks + counted * times.head;
  // Attention and what is not products stay float32.
  return products + times.slower * (attention + (products + attention) * (1 / kShareOfStep - 1));
}

std::int64_t pieces_that_fit(const PlanInput& in, const Largest& batch, double room) {
  const auto tokens = static_cast<double>(batch.tokens);
  for (std::int64_t kept = in.spec.layers; kept > 1; kept = (kept + 1) / 2) {
    const std::int64_t pieces = (in.spec.layers + kept - 1) / kept;
    const double states = tokens * kStateBytes *
                          (kept_values(in, kept) + static_cast<double>(pieces * in.spec.d_model));
    if (states <= room && kept < in.spec.layers) return kept;
  }
  return 1;
}

}  // namespace

Json TrainPlan::json() const {
  return {{"peak_memory", peak()},
          {"weights", weights},
          {"adapter", adapter},
          {"states", states},
          {"working", working},
          {"limit", limit},
          {"checkpointing", layers_kept > 0},
          {"layers_kept", layers_kept},
          {"tokens_per_second", tokens_per_second},
          {"seconds", seconds}};
}

void check_checkpointing(std::string_view mode) {
  if (mode == "auto" || mode == "on" || mode == "off") return;
  fail(ErrorKind::kUsage, "train",
       fmt::format("--checkpointing: expected auto, on or off, found '{}'", printable(mode)));
}

TrainPlan plan_training(const PlanInput& in) {
  const TrainRequest& request = in.request;
  const auto& mode = request.checkpointing;
  const Sizes sizes = sizes_of(in);
  const Largest batch = largest_batch(in);
  const auto trained = static_cast<double>(in.adapter.parameter_count());
  const auto tokens = static_cast<double>(batch.tokens);
  const auto d = static_cast<double>(in.spec.d_model);
  TrainPlan plan;
  plan.program = kProgram;
  plan.weights = static_cast<std::uint64_t>(sizes.bytes);
  if (in.teacher != nullptr) plan.weights += weight_sizes(*in.teacher, in.options).loaded;
  plan.adapter = static_cast<std::uint64_t>(trained * (8 + optimizer_bytes(request.optimizer)));
  const double rows_bytes = static_cast<double>(batch.rows) * d * 4;
  plan.working = head_loss_bytes(in.spec, batch.rows, in.loss) +
                 static_cast<std::uint64_t>(
                     4 * head_part_values(in, batch.rows) + 3 * rows_bytes + sizes.largest * 4 +
                     tokens * 4 * (d + 2 * static_cast<double>(in.spec.mlp.d_ff)));
  plan.limit = request.memory > 0 ? request.memory : available_memory() / 5 * 4;
  const auto fixed = plan.peak();
  const double all = tokens * kStateBytes * kept_values(in, in.spec.layers);
  const double room = plan.limit > fixed ? static_cast<double>(plan.limit - fixed) : 0;
  if (mode == "on" || (mode == "auto" && all > room))
    plan.layers_kept = mode == "on" && all <= room ? std::max<std::int64_t>(1, in.spec.layers / 6)
                                                   : pieces_that_fit(in, batch, room);
  if (plan.layers_kept == 0) {
    plan.states = static_cast<std::uint64_t>(all);
  } else {
    const std::int64_t pieces = (in.spec.layers + plan.layers_kept - 1) / plan.layers_kept;
    plan.states = static_cast<std::uint64_t>(
        tokens * kStateBytes *
        (kept_values(in, plan.layers_kept) + static_cast<double>(pieces) * d));
  }
  if (request.memory > 0 && plan.peak() > plan.limit)
    fail(ErrorKind::kResource, "train",
         fmt::format("expected to need at most {} (--memory), found {}", human_bytes(plan.limit),
                     human_bytes(plan.peak())),
         "smaller micro-batches (--batch-tokens or --batch-size) with more of them (--accumulate)");
  if (!request.plan) return plan;
  plan.tokens_per_second = 1 / seconds_of(in, batch.tokens, plan.layers_kept > 0);
  plan.seconds = static_cast<double>(in.tokens) / plan.tokens_per_second;
  return plan;
}

}  // namespace lancet
