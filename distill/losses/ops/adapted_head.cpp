// With L_i the value of row i and c_i the gradient that comes back for it:
//   dA = sum_i c_i dL_i/dA,  and so for B and the magnitude
// The logits of a chunk are there once. Where all c_i are the same number they can be left out of
// the sum and multiplied with it; where they are not, the chunk's logits are computed again when
// they are known.

#include "distill/losses/ops/adapted_head.h"

#include <algorithm>
#include <optional>
#include <utility>

#include <torch/csrc/autograd/autograd.h>
#include <torch/csrc/autograd/custom_function.h>

#include "core/error.h"
#include "core/interrupt.h"
#include "distill/losses/ops/token_rows.h"
#include "model/intraop.h"
#include "model/linear_adapted.h"
#include "model/lora.h"

namespace lancet::losses {
namespace {

/// A, B and, with DoRA, the magnitude.
std::vector<at::Tensor> leaves_of(const LowRank& part) {
  std::vector<at::Tensor> out{part.a, part.b};
  if (part.magnitude.defined()) out.push_back(part.magnitude);
  return out;
}

class Chunks {
 public:
  Chunks(const Decoder& model, const HeadRows& rows, const at::Tensor& normed)
      : model_(model),
        rows_(rows),
        normed_(normed),
        values_(at::empty({normed.size(0)}, at::kDouble)) {
    if (stays_on_device(rows, normed)) tokens_.emplace(*rows.tokens);
  }

  /// Values alone.
  void evaluate() {
    for_each([&](std::int64_t first, std::int64_t count) {
      const at::NoGradGuard no_grad;
      (void)work(model_.logits(normed_.narrow(0, first, count), first), first, false, nullptr);
    });
  }

  /// Values, and gradients of each row times its slope (1 where there are none).
  void differentiate(const double* slopes) {
    gradient_ = at::empty_like(normed_);
    const std::vector<at::Tensor> leaves = leaves_of(*model_.head_linear().low_rank);
    for (const at::Tensor& leaf : leaves) sums_.push_back(at::zeros_like(leaf.detach()));
    for_each([&](std::int64_t first, std::int64_t count) {
      const at::AutoGradMode on(true);
      const at::Tensor x = normed_.narrow(0, first, count).detach().requires_grad_(true);
      const at::Tensor there = model_.logits(x, first);
      const at::Tensor slope = work(there, first, true, slopes);
      std::vector<at::Tensor> inputs{x};
      inputs.insert(inputs.end(), leaves.begin(), leaves.end());
      const auto own = torch::autograd::grad({there}, inputs, {slope.to(there.device())});
      const at::NoGradGuard no_grad;
      gradient_.narrow(0, first, count).copy_(own[0]);
      for (std::size_t i = 0; i < sums_.size(); ++i) sums_[i].add_(own[i + 1]);
    });
  }

  [[nodiscard]] const at::Tensor& values() const { return values_; }
  [[nodiscard]] const at::Tensor& gradient() const { return gradient_; }
  [[nodiscard]] const std::vector<at::Tensor>& sums() const { return sums_; }

 private:
  template <class Body>
  void for_each(const Body& body) {
    const std::int64_t n = normed_.size(0);
    const std::int64_t most = rows_.at_once > 0
                                  ? rows_.at_once
                                  : rows_at_once(model_.spec().vocab) * (tokens_ ? kDeviceRows : 1);
    for (std::int64_t first = 0; first < n; first += most) {
      check_interrupted();
      const std::int64_t count = std::min(most, n - first);
      if (rows_.before) rows_.before(first, count);
      body(first, count);
    }
    if (tokens_) tokens_->finish(values_.mutable_data_ptr<double>());
  }

  /// Turns the logits of rows from `first` on into slopes, where these are wanted, and keeps the
  /// values of the rows.
  at::Tensor work(const at::Tensor& there, std::int64_t first, bool wanted, const double* slopes) {
    if (tokens_) {  // scale, softcap and masked ids are part of the graph
      at::Tensor logits = there.detach().contiguous();
      tokens_->add(logits, first, {}, wanted, slopes);
      return logits;
    }
    at::Tensor logits = there.detach().to(at::kCPU).contiguous();
    auto* buffer = logits.mutable_data_ptr<float>();
    auto* to = values_.mutable_data_ptr<double>() + first;
    const std::int64_t vocab = logits.size(1);
    intraop_for(logits.size(0), [&, buffer, to](std::int64_t i) {
      const std::span<float> row(buffer + i * vocab, static_cast<std::size_t>(vocab));
      to[i] = rows_.value(first + i, row, wanted);
      if (slopes == nullptr) return;
      const auto by = static_cast<float>(slopes[first + i]);
      for (float& each : row) each *= by;
    });
    return logits;
  }

  const Decoder& model_;
  const HeadRows& rows_;
  std::optional<DeviceTokens> tokens_;  ///< where the rows stay on the device
  at::Tensor normed_, values_, gradient_;
  std::vector<at::Tensor> sums_;
};

struct Later : torch::CustomClassHolder {
  std::optional<Decoder> model;
  HeadRows rows;
};

/// Inputs: normed, then the leaves.
struct AdaptedHeadFunction : torch::autograd::Function<AdaptedHeadFunction> {
  static at::Tensor forward(torch::autograd::AutogradContext* ctx, const at::Tensor& normed,
                            const Decoder* model, const HeadRows* rows, at::TensorList) {
    Chunks chunks(*model, *rows, normed.detach());
    if (rows->own_slopes) {
      chunks.evaluate();
      auto later = c10::make_intrusive<Later>();
      later->model = *model;
      later->rows = *rows;
      ctx->saved_data["later"] = c10::IValue::make_capsule(std::move(later));
      ctx->saved_data["normed"] = normed.detach();
      return chunks.values();
    }
    chunks.differentiate(nullptr);
    ctx->saved_data["gradient"] = chunks.gradient();
    ctx->saved_data["sums"] = chunks.sums();
    return chunks.values();
  }

  static torch::autograd::variable_list backward(torch::autograd::AutogradContext* ctx,
                                                 const torch::autograd::variable_list& grads) {
    const at::Tensor slopes = grads[0].to(at::kCPU, at::kDouble).contiguous();
    const auto* slope = slopes.const_data_ptr<double>();
    torch::autograd::variable_list out;
    if (const auto at = ctx->saved_data.find("later"); at != ctx->saved_data.end()) {
      const auto capsule = at->second.toCapsule();
      const Later& later = static_cast<const Later&>(*capsule);
      Chunks chunks(*later.model, later.rows, ctx->saved_data["normed"].toTensor());
      chunks.differentiate(slope);
      out = {chunks.gradient(), at::Tensor(), at::Tensor()};
      out.insert(out.end(), chunks.sums().begin(), chunks.sums().end());
      return out;
    }
    for (std::int64_t i = 1; i < slopes.numel(); ++i) {
      if (slope[i] != slope[0])
        fail(ErrorKind::kInternal, "loss", "expected one slope for all rows of an adapted head");
    }
    const double by = slopes.numel() > 0 ? slope[0] : 0;
    out = {ctx->saved_data["gradient"].toTensor() * by, at::Tensor(), at::Tensor()};
    for (const at::Tensor& each : ctx->saved_data["sums"].toTensorVector())
      out.push_back(each * by);
    return out;
  }
};

}  // namespace

bool head_is_adapted(const Decoder& model) { return is_adapted(model.head_linear()); }

at::Tensor adapted_head_rows(const Decoder& model, const at::Tensor& normed, const HeadRows& rows) {
  if (at::GradMode::is_enabled()) {
    const std::vector<at::Tensor> leaves = leaves_of(*model.head_linear().low_rank);
    return AdaptedHeadFunction::apply(normed, &model, &rows, at::TensorList(leaves));
  }
  Chunks chunks(model, rows, normed.detach());
  chunks.evaluate();
  return chunks.values();
}

}  // namespace lancet::losses
