#include "distill/train/student.h"

#include <algorithm>
#include <cmath>

#include <c10/core/GradMode.h>

#include "core/error.h"
#include "model/cuda/launch.h"

namespace lancet {
namespace {

/// The adapter's switch as it was, at the end of a scope.
class Switched {
 public:
  Switched(LoraSwitch& state, LoraSwitch now) : state_(state), before_(state) { state = now; }
  ~Switched() { state_ = before_; }
  Switched(const Switched&) = delete;
  Switched& operator=(const Switched&) = delete;

 private:
  LoraSwitch& state_;
  LoraSwitch before_;
};

Pass pass_of(const MicroBatch& batch) {
  Pass pass;
  pass.segments = batch.segments;
  return pass;
}

std::optional<DeviceFactors> factors_of(const Decoder& base, const LoraAdapter& adapter) {
  const at::Device device = base.options().device();
  if (device.is_cpu() && !fused::twins_on_cpu()) return std::nullopt;
  return DeviceFactors(adapter, device);
}

}  // namespace

void LossSums::add(const LossSums& other) {
  loss += other.loss;
  ce += other.ce;
  kd += other.kd;
  coverage += other.coverage;
  count += other.count;
  tokens += other.tokens;
  teacher_rows += other.teacher_rows;
  for (const auto& [name, value] : other.metrics) {
    const auto at = std::ranges::find(metrics, name, &std::pair<std::string, double>::first);
    if (at == metrics.end()) {
      metrics.emplace_back(name, value);
    } else {
      at->second += value;
    }
  }
}

std::vector<std::pair<std::string, double>> LossSums::means() const {
  const auto n = static_cast<double>(std::max<std::int64_t>(count, 1));
  std::vector<std::pair<std::string, double>> out{{"ce", ce / n}};
  if (teacher_rows > 0) {
    out.emplace_back("kd", kd / static_cast<double>(teacher_rows));
    out.emplace_back("coverage", coverage / static_cast<double>(teacher_rows));
  }
  for (const auto& [name, value] : metrics) out.emplace_back(name, value / n);
  return out;
}

Student::Student(const Decoder& base, LoraAdapter& adapter, const LossOptions& loss,
                 std::int64_t layers_kept, const LocalTeacher* teacher)
    : factors_(factors_of(base, adapter)),
      model_(base.with_low_rank(factors_ ? factors_->parts() : adapter.by_module())),
      adapter_(adapter),
      loss_(loss),
      layers_kept_(layers_kept),
      teacher_(teacher) {}

const Decoder& Student::decoder() {
  if (factors_) factors_->fetch();
  return model_;
}

at::Tensor Student::hidden_rows(const at::Tensor& hidden, const MicroBatch& batch) const {
  const at::Tensor rows = at::tensor(batch.rows, at::kLong).to(hidden.device());
  return hidden.flatten(0, 1).index_select(0, rows);
}

LossSums Student::sums_of(const LossResult& result, const MicroBatch& batch) const {
  LossSums out{.loss = result.sum.item<double>(),
               .ce = result.ce,
               .kd = result.kd,
               .coverage = result.coverage,
               .count = result.count,
               .tokens = batch.ids.numel(),
               .teacher_rows = result.teacher_rows,
               .metrics = {}};
  for (const LossMetric& each : result.metrics) out.metrics.emplace_back(each.name, each.sum);
  return out;
}

std::vector<double> Student::own_logprobs(const MicroBatch& batch, bool adapted) {
  const c10::AutoGradMode no_gradients(false);
  const Switched now(adapter_.state(), {.enabled = adapted, .draw = -1});
  const at::Tensor hidden =
      model_.run(model_.embed(batch.ids), 0, model_.spec().layers, pass_of(batch));
  const at::Tensor logprobs =
      token_logprobs(model_, hidden_rows(hidden, batch), batch.targets.next).to(at::kCPU);
  const auto* from = logprobs.const_data_ptr<double>();
  return {from, from + logprobs.numel()};
}

void Student::complete(MicroBatch& batch) {
  if (loss_.loss->needs.reference) batch.targets.reference = own_logprobs(batch, false);
  if (teacher_ != nullptr) teacher_->teach(batch);
}

MicroBatch Student::sample(const MicroBatch& data, const Rollouts& rollouts, std::int64_t draw) {
  const Switched on(adapter_.state(), {.enabled = true, .draw = -1});
  MicroBatch out = rollouts.sample(decoder(), data, draw);
  out.targets.sampling_logprob = own_logprobs(out, true);
  return out;
}

LossSums Student::learn(MicroBatch batch, double divisor, std::int64_t draw) {
  if (factors_) factors_->fetch();
  complete(batch);
  const Switched on(adapter_.state(), {.enabled = true, .draw = draw});
  const c10::AutoGradMode gradients(true);
  LossSums sums;
  const Pass pass = pass_of(batch);
  if (layers_kept_ > 0) {
    learn_in_pieces(batch, pass, divisor, sums);
  } else {
    learn_whole(batch, pass, divisor, sums);
  }
  if (factors_) factors_->give_back();
  return sums;
}

void Student::learn_whole(const MicroBatch& batch, const Pass& pass, double divisor,
                          LossSums& sums) {
  const at::Tensor hidden = model_.run(model_.embed(batch.ids), 0, model_.spec().layers, pass);
  const LossResult result = head_loss(model_, hidden_rows(hidden, batch), batch.targets, loss_);
  sums = sums_of(result, batch);
  if (std::isfinite(sums.loss)) (result.sum / divisor).backward();
}

void Student::learn_in_pieces(const MicroBatch& batch, const Pass& pass, double divisor,
                              LossSums& sums) {
  const std::int64_t layers = model_.spec().layers;
  const at::Tensor embedded = model_.embed(batch.ids);
  std::vector<at::Tensor> states{embedded};
  {
    const c10::AutoGradMode no_gradients(false);
    for (std::int64_t first = 0; first < layers; first += layers_kept_)
      states.push_back(
          model_.run(states.back(), first, std::min(layers, first + layers_kept_), pass));
  }
  at::Tensor gradient;
  {
    const at::Tensor last = states.back().detach().requires_grad_(true);
    states.pop_back();
    const LossResult result = head_loss(model_, hidden_rows(last, batch), batch.targets, loss_);
    sums = sums_of(result, batch);
    if (!std::isfinite(sums.loss)) return;
    (result.sum / divisor).backward();
    gradient = last.grad();
  }
  for (std::int64_t piece = static_cast<std::int64_t>(states.size()) - 1; piece >= 0; --piece) {
    const std::int64_t first = piece * layers_kept_;
    const bool asked = piece > 0 || embedded.requires_grad();
    const at::Tensor input = states.back().detach().requires_grad_(asked);
    states.pop_back();
    const at::Tensor output =
        model_.run(input, first, std::min(layers, first + layers_kept_), pass);
    if (!output.requires_grad()) return;  // no adapted layer below
    output.backward(gradient);
    gradient = input.grad();
  }
  if (embedded.requires_grad()) embedded.backward(gradient);
}

LossSums Student::evaluate(MicroBatch batch) {
  if (factors_) factors_->fetch();
  complete(batch);
  const c10::AutoGradMode no_gradients(false);
  const Switched on(adapter_.state(), {.enabled = true, .draw = -1});
  const at::Tensor hidden =
      model_.run(model_.embed(batch.ids), 0, model_.spec().layers, pass_of(batch));
  return sums_of(head_loss(model_, hidden_rows(hidden, batch), batch.targets, loss_), batch);
}

}  // namespace lancet
