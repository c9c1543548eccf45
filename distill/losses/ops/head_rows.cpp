#include "distill/losses/ops/head_rows.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <optional>
#include <utility>

#include <torch/csrc/autograd/autograd.h>
#include <torch/csrc/autograd/custom_function.h>

#include "core/interrupt.h"
#include "distill/losses/ops/adapted_head.h"
#include "distill/losses/ops/token_rows.h"
#include "model/intraop.h"
#include "model/linear.h"

namespace lancet::losses {
namespace {

constexpr std::int64_t kFewestRows = 16;
constexpr std::int64_t kMostRows = 512;
constexpr float kMaskedLogit = std::numeric_limits<float>::lowest();

/// Scale, softcap and masked ids: in front of the loss forwards, behind it backwards.
class LogitShape {
 public:
  explicit LogitShape(const DecoderSpec& spec) : spec_(spec) {}

  [[nodiscard]] bool plain() const {
    return spec_.logit_scale == 1 && spec_.logit_softcap == 0 && spec_.masked_ids.empty();
  }

  void forward(std::span<float> row) const {
    if (spec_.logit_scale != 1) {
      for (float& z : row) z *= static_cast<float>(spec_.logit_scale);
    }
    if (spec_.logit_softcap != 0) {
      const auto cap = static_cast<float>(spec_.logit_softcap);
      for (float& z : row) z = std::tanh(z / cap) * cap;
    }
    for_masked(row, kMaskedLogit);
  }

  /// grad in place; `logits` as they left forward(), needed where there is a softcap.
  void backward(std::span<float> grad, std::span<const float> logits) const {
    const auto scale = static_cast<float>(spec_.logit_scale);
    if (spec_.logit_softcap != 0) {
      const auto cap = static_cast<float>(spec_.logit_softcap);
      for (std::size_t j = 0; j < grad.size(); ++j) {
        const float t = logits[j] / cap;
        grad[j] *= scale * (1 - t * t);
      }
    } else if (scale != 1) {
      for (float& g : grad) g *= scale;
    }
    for_masked(grad, 0);
  }

  [[nodiscard]] bool keeps_logits() const { return spec_.logit_softcap != 0; }

 private:
  void for_masked(std::span<float> row, float value) const {
    for (const auto& [begin, end] : spec_.masked_ids)
      std::fill(row.begin() + begin, row.begin() + end, value);
  }

  const DecoderSpec& spec_;
};

std::span<float> row_of(float* matrix, std::int64_t row, std::int64_t width) {
  return {matrix + row * width, static_cast<std::size_t>(width)};
}

/// On the CPU in float32: our own kernels.
class NativeChunks {
 public:
  NativeChunks(const Decoder& model, const HeadRows& rows, const at::Tensor& normed, double* values,
               float* gradient)
      : head_(model.head_linear()),
        shape_(model.spec()),
        rows_(rows),
        normed_(normed.const_data_ptr<float>()),
        values_(values),
        gradient_(gradient) {}

  /// Rows [first, first + count), with logits in `buffer` [count, vocab].
  void run(std::int64_t first, std::int64_t count, float* buffer) const {
    const std::int64_t d = head_.d_in();
    const std::array<float*, 1> to{buffer};
    run_linears({&head_, 1}, normed_ + first * d, count, to);
    intraop_for(count, [&](std::int64_t i) { row(first + i, row_of(buffer, i, head_.d_out())); });
    if (gradient_ == nullptr) return;
    const std::array<const float*, 1> from{buffer};
    run_linears_backward({&head_, 1}, from, count, gradient_ + first * d);
  }

 private:
  void row(std::int64_t index, std::span<float> logits) const {
    if (!shape_.plain()) shape_.forward(logits);
    std::vector<float> kept;
    if (gradient_ != nullptr && shape_.keeps_logits()) kept.assign(logits.begin(), logits.end());
    values_[index] = rows_.value(index, logits, gradient_ != nullptr);
    if (gradient_ != nullptr && !shape_.plain()) shape_.backward(logits, kept);
  }

  const Linear& head_;
  LogitShape shape_;
  const HeadRows& rows_;
  const float* normed_;
  double* values_;
  float* gradient_;
};

/// Elsewhere LibTorch's products; rows that are not token_rows() are worked on here.
void run_composed(const Decoder& model, const HeadRows& rows, const at::Tensor& normed,
                  std::int64_t first, double* values, const at::Tensor& gradient) {
  const bool wanted = gradient.defined();
  const at::AutoGradMode mode(wanted);
  const at::Tensor x = normed.detach().requires_grad_(wanted);
  const at::Tensor there = model.logits(x);
  const at::Tensor logits = there.detach().to(at::kCPU).contiguous();
  auto* buffer = logits.mutable_data_ptr<float>();
  const std::int64_t vocab = logits.size(1);
  intraop_for(logits.size(0), [&](std::int64_t i) {
    values[first + i] = rows.value(first + i, row_of(buffer, i, vocab), wanted);
  });
  if (!wanted) return;
  const auto dx = torch::autograd::grad({there}, {x}, {logits.to(there.device())});
  gradient.narrow(0, first, normed.size(0)).copy_(dx[0]);
}

struct Rows {
  at::Tensor values, gradient;
};

Rows compute(const Decoder& model, const at::Tensor& normed, const HeadRows& rows, bool wanted) {
  const std::int64_t n = normed.size(0);
  const std::int64_t vocab = model.spec().vocab;
  Rows out{at::empty({n}, at::kDouble), wanted ? at::empty_like(normed) : at::Tensor()};
  auto* values = out.values.mutable_data_ptr<double>();
  const bool there = stays_on_device(rows, normed);
  const std::int64_t most =
      rows.at_once > 0 ? rows.at_once : rows_at_once(vocab) * (there ? kDeviceRows : 1);
  const std::int64_t chunks = std::max<std::int64_t>(1, (n + most - 1) / most);
  const std::int64_t each = (n + chunks - 1) / chunks;
  const bool native = is_native(normed);
  const at::Tensor buffer = native ? at::empty({each, vocab}, at::kFloat) : at::Tensor();
  std::optional<DeviceTokens> tokens;
  if (there) tokens.emplace(*rows.tokens);
  for (std::int64_t first = 0; first < n; first += each) {
    check_interrupted();
    const std::int64_t count = std::min(each, n - first);
    if (rows.before) rows.before(first, count);
    if (there) {
      run_on_device(model, *tokens, normed.narrow(0, first, count), first,
                    wanted ? out.gradient.narrow(0, first, count) : at::Tensor());
    } else if (native) {
      NativeChunks(model, rows, normed, values,
                   wanted ? out.gradient.mutable_data_ptr<float>() : nullptr)
          .run(first, count, buffer.mutable_data_ptr<float>());
    } else {
      run_composed(model, rows, normed.narrow(0, first, count), first, values, out.gradient);
    }
  }
  if (there) tokens->finish(values);
  return out;
}

struct HeadRowsFunction : torch::autograd::Function<HeadRowsFunction> {
  static at::Tensor forward(torch::autograd::AutogradContext* ctx, const at::Tensor& normed,
                            const Decoder* model, const HeadRows* rows) {
    Rows out = compute(*model, normed.detach(), *rows, true);
    ctx->saved_data["gradient"] = out.gradient;
    return out.values;
  }

  static torch::autograd::variable_list backward(torch::autograd::AutogradContext* ctx,
                                                 const torch::autograd::variable_list& grads) {
    const at::Tensor gradient = ctx->saved_data["gradient"].toTensor();
    const at::Tensor slopes = grads[0].to(gradient.options()).unsqueeze(1);
    return {gradient * slopes, at::Tensor(), at::Tensor()};
  }
};

struct ScalarFunction : torch::autograd::Function<ScalarFunction> {
  static at::Tensor forward(torch::autograd::AutogradContext* ctx, const at::Tensor& values,
                            double total, const std::vector<double>& slopes) {
    const auto n = static_cast<std::int64_t>(slopes.size());
    at::Tensor kept = at::empty({n}, values.options());
    std::copy(slopes.begin(), slopes.end(), kept.mutable_data_ptr<double>());
    ctx->saved_data["slopes"] = kept;
    return at::scalar_tensor(total, values.options());
  }

  static torch::autograd::variable_list backward(torch::autograd::AutogradContext* ctx,
                                                 const torch::autograd::variable_list& grads) {
    return {ctx->saved_data["slopes"].toTensor() * grads[0], at::Tensor(), at::Tensor()};
  }
};

}  // namespace

std::int64_t rows_at_once(std::int64_t vocab) {
  const auto row_bytes = vocab * static_cast<std::int64_t>(sizeof(float));
  return std::clamp(kLogitBytes / std::max<std::int64_t>(1, row_bytes), kFewestRows, kMostRows);
}

at::Tensor head_rows(const Decoder& model, const at::Tensor& hidden, const HeadRows& rows) {
  const at::Tensor normed = model.final_norm(hidden).contiguous();
  if (head_is_adapted(model)) return adapted_head_rows(model, normed, rows);
  if (at::GradMode::is_enabled() && normed.requires_grad())
    return HeadRowsFunction::apply(normed, &model, &rows);
  return compute(model, normed, rows, false).values;
}

at::Tensor scalar_of(const at::Tensor& values, double total, const std::vector<double>& slopes) {
  return ScalarFunction::apply(values, total, slopes);
}

at::Tensor sum_of(const at::Tensor& values) {
  const auto n = static_cast<std::size_t>(values.numel());
  const auto* value = values.const_data_ptr<double>();
  double total = 0;
  for (std::size_t i = 0; i < n; ++i) total += value[i];
  return scalar_of(values, total, std::vector<double>(n, 1.0));
}

TeacherLogits::TeacherLogits(const Decoder& model, const at::Tensor& hidden) : model_(model) {
  const at::NoGradGuard no_grad;
  normed_ = model.final_norm(hidden.detach()).contiguous();
}

void TeacherLogits::load(std::span<const std::int64_t> rows) {
  const at::NoGradGuard no_grad;
  slot_.clear();
  std::vector<std::int64_t> taken;
  for (const std::int64_t row : rows) {
    slot_.push_back(row < 0 ? -1 : static_cast<std::int64_t>(taken.size()));
    if (row >= 0) taken.push_back(row);
  }
  if (taken.empty()) return;
  const at::Tensor index = at::tensor(taken, at::kLong).to(normed_.device());
  logits_ = model_.logits(normed_.index_select(0, index)).to(at::kCPU).contiguous();
}

std::span<float> TeacherLogits::row(std::int64_t i) {
  const std::int64_t slot = slot_[static_cast<std::size_t>(i)];
  if (slot < 0) return {};
  return row_of(logits_.mutable_data_ptr<float>(), slot, logits_.size(1));
}

}  // namespace lancet::losses
