#include "distill/train/share.h"

#include <algorithm>
#include <vector>

#include "core/json.h"

namespace lancet {

void broadcast_tensor(const Ranks& ranks, const at::Tensor& tensor) {
  if (!tensor.defined()) return;
  const at::Tensor plain = tensor.detach();
  ranks.broadcast(std::span(static_cast<std::byte*>(plain.mutable_data_ptr()), plain.nbytes()));
}

void share_sums(const Ranks& ranks, LossSums& sums) {
  Json names = Json::array();
  for (const auto& [name, value] : sums.metrics) names.push_back(name);
  names = parse_json(ranks.broadcast(names.dump()), "metrics");
  std::vector<double> all{sums.loss,
                          sums.ce,
                          sums.kd,
                          sums.coverage,
                          static_cast<double>(sums.count),
                          static_cast<double>(sums.tokens),
                          static_cast<double>(sums.teacher_rows)};
  const std::size_t fixed = all.size();
  for (const Json& name : names) {
    const auto at = std::ranges::find(sums.metrics, name.get<std::string>(),
                                      &std::pair<std::string, double>::first);
    all.push_back(at == sums.metrics.end() ? 0 : at->second);
  }
  ranks.sum(std::span<double>(all));
  sums = {.loss = all[0],
          .ce = all[1],
          .kd = all[2],
          .coverage = all[3],
          .count = static_cast<std::int64_t>(all[4]),
          .tokens = static_cast<std::int64_t>(all[5]),
          .teacher_rows = static_cast<std::int64_t>(all[6]),
          .metrics = {}};
  for (std::size_t i = 0; i < names.size(); ++i)
    sums.metrics.emplace_back(names[i].get<std::string>(), all[fixed + i]);
}

void share_state(const Ranks& ranks, RunState& state, const LoraAdapter& adapter,
                 Optimizer& optimizer) {
  Json json = state.json();
  json["optimizer_steps"] = optimizer.steps();
  json = parse_json(ranks.broadcast(dump_json(json)), "state of rank 0");
  state = RunState::from_json(json, "state of rank 0");
  optimizer.set_steps(json_int(json, "optimizer_steps", "state of rank 0"));
  for (const auto& part : adapter.parts()) {
    for (const at::Tensor& each : {part->a, part->b, part->magnitude, part->a0, part->b0})
      broadcast_tensor(ranks, each);
  }
  for (const auto& [name, tensor] : optimizer.state()) broadcast_tensor(ranks, tensor);
}

}  // namespace lancet
