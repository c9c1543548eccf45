#include "distill/train/probe.h"

#include <algorithm>
#include <map>
#include <tuple>
#include <vector>

#include <c10/core/GradMode.h>
#include <torch/csrc/autograd/autograd.h>

#include "core/seconds.h"
#include "model/buffer_pool.h"
#include "model/linear.h"
#include "model/runtime.h"

namespace lancet {
namespace {

constexpr double kOperations = 8e9;  ///< of one run, about
constexpr std::int64_t kFewestRows = 64;
constexpr int kRuns = 6;  ///< the first of which warms up
constexpr float kValue = 0.01F;
constexpr std::int64_t kTouched = 32 << 20;  ///< floats, by a step between two uses of a layer

/// A layer of a module's shape; values that are no others' business.
Linear layer_of(const LinearModule& module, const LowRank* part, const LayerForm& form) {
  Linear out;
  const bool out_in = module.layout == MatrixLayout::kOutIn;
  const std::int64_t rows = out_in ? module.d_out : module.d_in;
  const std::int64_t columns = out_in ? module.d_in : module.d_out;
  out.layout = module.layout;
  out.rows = form.rows;
  if (form.quant == BaseQuant::kNone || module.head) {
    out.weight = at::full({rows, columns}, kValue, form.dtype);
  } else {
    out.weight = at::empty({rows, columns}, at::TensorOptions(at::kMeta));
    // A file's own blocks decode about as fast as these.
    out.packed = std::make_shared<PackedMatrix>(
        form.quant == BaseQuant::kStored ? BaseQuant::kQ8_0 : form.quant, rows, columns,
        [](std::int64_t, std::int64_t, std::span<float> values) {
          std::ranges::fill(values, kValue);
        });
  }
  if (part == nullptr) return out;
  auto own = std::make_shared<LowRank>(*part);
  if (own->magnitude.defined()) own->base_norms = at::ones({module.d_out}, at::kDouble);
  out.low_rank = std::move(own);
  return out;
}

/// The middle one of the runs: a step takes what is usual, not the best.
double usual_seconds(const Linear& layer, std::int64_t rows) {
  const c10::AutoGradMode on(true);
  const at::Tensor x = at::full({rows, layer.d_in()}, kValue, at::kFloat).requires_grad_(true);
  const at::Tensor slope = at::full({rows, layer.d_out()}, kValue, at::kFloat);
  std::vector<at::Tensor> inputs{x};
  if (layer.low_rank != nullptr) {
    inputs.push_back(layer.low_rank->a);
    inputs.push_back(layer.low_rank->b);
  }
  at::Tensor others = at::zeros({kTouched}, at::kFloat);
  std::vector<double> taken;
  for (int run = 0; run < kRuns; ++run) {
    others.add_(1);  // so that the layer comes from memory, as in a step
    const double seconds = seconds_of([&] {
      static_cast<void>(torch::autograd::grad({apply_linear(layer, x)}, inputs, {slope}));
    });
    if (run > 0) taken.push_back(seconds);
  }
  std::ranges::nth_element(taken, taken.begin() + (kRuns - 1) / 2);
  return taken[(kRuns - 1) / 2];
}

/// Layers that take the same time.
using Shape = std::tuple<std::int64_t, std::int64_t, std::int64_t, bool>;

class LayerTimer {
 public:
  LayerTimer(const LoraAdapter& adapter, std::int64_t tokens, const LayerForm& form)
      : parts_(adapter.by_module()), tokens_(tokens), form_(form) {}

  /// Seconds of a token.
  double of(const LinearModule& module) {
    const auto at = parts_.find(module.name);
    const LowRank* const part = at == parts_.end() ? nullptr : at->second.get();
    const std::int64_t rank = part == nullptr ? 0 : part->all_rank();
    const bool scaled = part != nullptr && part->magnitude.defined();
    const auto [known, added] = known_.try_emplace({module.d_in, module.d_out, rank, scaled}, 0.0);
    if (added) {
      const auto values = static_cast<double>(module.d_in * module.d_out);
      const std::int64_t rows =
          std::clamp(static_cast<std::int64_t>(kOperations / (4 * values)),
                     std::min(tokens_, kFewestRows), std::max<std::int64_t>(1, tokens_));
      known->second =
          usual_seconds(layer_of(module, part, form_), rows) / static_cast<double>(rows);
    }
    return known->second;
  }

 private:
  LoraParts parts_;
  std::int64_t tokens_;
  LayerForm form_;
  std::map<Shape, double> known_;
};

}  // namespace

LayerTimes probe_layers(const DecoderSpec& spec, const LoraAdapter& adapter, std::int64_t tokens,
                        const LayerForm& form) {
  const BuffersKept as_in_training;
  LayerTimer watch(adapter, tokens, form);
  LayerTimes out;
  const LinearModule* largest = nullptr;
  const std::vector<LinearModule> modules = adaptable_modules(spec);
  for (const LinearModule& module : modules) {
    if (module.embedding) continue;
    const double seconds = watch.of(module);
    if (module.head) {
      out.head = seconds;
      continue;
    }
    const double share =
        module.expert ? static_cast<double>(spec.moe.top_k) / static_cast<double>(spec.moe.experts)
                      : 1;
    out.blocks += share * seconds;
    if (largest != nullptr && module.d_in * module.d_out <= largest->d_in * largest->d_out)
      continue;
    largest = &module;
    out.speed = 4 * static_cast<double>(module.d_in * module.d_out) / seconds;
  }
  if (form.rows != RowForm::kPlain && largest != nullptr) {
    LayerTimer plain(adapter, tokens, {.quant = form.quant});
    out.slower = plain.of(*largest) / watch.of(*largest);
  }
  return out;
}

}  // namespace lancet
