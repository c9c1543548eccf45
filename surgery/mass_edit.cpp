#include "surgery/mass_edit.h"

#include <algorithm>
#include <cmath>
#include <map>

#include <c10/core/GradMode.h>
#include <fmt/format.h>

#include "core/error.h"
#include "model/runtime.h"
#include "surgery/contexts.h"
#include "surgery/mass_values.h"

namespace lancet {
namespace {

constexpr Parameter kShared[] = {
    {"steps", 25, 1, 1000, true,
     "forward passes of the value's optimisation; the last one does not update"},
    {"lr", 0.5, 1e-6, 100, false, "Adam's step size"},
    {"clamp", 4, 1e-3, 1e3, false, "largest |delta| as a multiple of |h|"},
    {"kl", 0.0625, 0, 1e3, false, "weight of the KL term at the bare subject"},
    {"weight_decay", 1e-3, 0, 1e3, false, "weight of |delta| / |h|^2"},
    {"stop", 0.05, 0, 1e3, false, "stop when the loss is below"},
    {"stop_nll", kAuto, 0, 1e3, false,
     "stop when the target is the arg max in every row and every NLL is below, 0 = off; auto: 0.1 "
     "with sampled contexts, else 0"},
    {"context_count", 5, 0, 200, true, "sampled texts before the prompt, beside the bare one"},
    {"first_contexts", kAuto, 0, 200, true,
     "contexts, the bare prompt among them, that the search for z begins with until the target is "
     "sure there, 0 = all from the start; auto: 2 with sampled contexts, else 0"},
};

/// W + left right^T in the precision and layout of the model.
Decoder changed(const Decoder& model, const MatrixRef& down, const at::Tensor& left,
                const at::Tensor& right) {
  const OneThread inside;
  const at::Tensor change = at::matmul(left, right.t()).to(down.weight.options());
  return model.with_weight(
      down.name, down.weight + (down.layout == MatrixLayout::kOutIn ? change : change.t()));
}

double norm_of(const MatrixRef& matrix) {
  const OneThread inside;
  return matrix.weight.to(at::kCPU, at::kDouble).norm().item<double>();
}

/// Mean over facts of |column|.
double mean_norm(const at::Tensor& columns) { return columns.norm(2, 0).mean().item<double>(); }

/// The facts of one call, written in turns.
class MassEdit {
 public:
  MassEdit(const EditInput& input, const Adjust& adjust)
      : input_(input), adjust_(adjust), contexts_(contexts_of(input)), model_(input.model) {
    const Json& given = input.parameters.json();
    if (given.contains("protect"))
      protect_ = input.parameters.number_or("protect", is_sampled(input.parameters) ? 0.3 : 0);
    if (given.contains("alike"))
      alike_ = input.parameters.number_or("alike", is_sampled(input.parameters) ? 1 : 0);
    history_ = given.value("history", 1) == 1;
  }

  /// Facts [first, last), on the model that has the earlier ones. False when `keeps` took them
  /// back.
  bool write(std::int64_t first, std::int64_t last) {
    const Decoder before = model_;
    std::vector<FactRows> facts;
    for (std::int64_t f = first; f < last; ++f)
      facts.push_back(
          fact_rows(input_.tokenizer, input_.facts[static_cast<std::size_t>(f)], contexts_));
    others_ =
        protect_ == 0
            ? std::vector<PromptRow>()
            : other_rows(
                  input_.tokenizer,
                  std::span(input_.facts).subspan(static_cast<std::size_t>(first), facts.size()),
                  input_.facts);
    const at::Tensor wanted = values(facts, first);
    const std::int64_t top = input_.layers.back();
    at::Tensor missing = wanted - streams(model_, facts, top);
    const double whole = mean_norm(missing);
    for (std::size_t j = 0; j < input_.layers.size(); ++j) {
      const auto parts_left = static_cast<double>(input_.layers.size() - j);
      Json note = write_layer(j, facts, first, missing / parts_left);
      missing = wanted - streams(model_, facts, top);
      note["missing"] = whole > 0 ? mean_norm(missing) / whole : 0;
      layer_notes_.push_back(std::move(note));
    }
    if (input_.keeps && !input_.keeps(model_)) {
      take_back(before, first);
      return false;
    }
    if (!history_ || last == std::ssize(input_.facts)) return true;
    for (const std::int64_t layer : input_.layers) {
      const FactKeys keys = fact_keys(model_, facts, layer);
      past_[layer].add(keys.mean);
      if (alike_ > 0) past_[layer].add(std::sqrt(alike_) * keys.half);
    }
    return true;
  }

  [[nodiscard]] EditPlan plan() {
    for (std::size_t j = 0; !plan_.traces.empty() && j < input_.layers.size(); ++j) {
      const MatrixRef down = input_.model.mlp_down(input_.layers[j]);
      plan_.factors.push_back(
          {input_.layers[j], down.name, down.layout, at::cat(left_[j], 1), at::cat(right_[j], 1)});
    }
    plan_.notes = {{"contexts", contexts_}, {"facts", fact_notes_}, {"layers", layer_notes_}};
    return std::move(plan_);
  }

 private:
  /// Z float64 [d_model, facts]; begins the traces.
  at::Tensor values(const std::vector<FactRows>& facts, std::int64_t first) {
    std::vector<at::Tensor> targets;
    for (Value& value : all_values(facts, first)) {
      const std::size_t f = targets.size();
      FactTrace trace;
      trace.id = input_.facts[static_cast<std::size_t>(first) + f].id;
      trace.value = value.value;
      trace.losses = value.losses;
      trace.subject_last = facts[f].rewriting.front().lookup;
      fact_notes_.push_back({{"id", trace.id}, {"passes", value.losses.size(0)}});
      targets.push_back(value.value);
      plan_.traces.push_back(std::move(trace));
    }
    return at::stack(targets, 1);
  }

  /// As if the turn that began with fact `first` had not been.
  void take_back(const Decoder& before, std::int64_t first) {
    model_ = before;
    plan_.traces.resize(static_cast<std::size_t>(first));
    for (std::size_t j = 0; j < input_.layers.size(); ++j) {
      left_[j].pop_back();
      right_[j].pop_back();
      layer_notes_.erase(layer_notes_.size() - 1);
    }
    while (std::ssize(fact_notes_) > first) fact_notes_.erase(fact_notes_.size() - 1);
  }

  /// Known values, and what a search finds for the other facts.
  std::vector<Value> all_values(const std::vector<FactRows>& facts, std::int64_t first) {
    std::vector<FactRows> open;
    std::vector<std::string> ids;
    std::vector<const at::Tensor*> known;
    for (std::size_t f = 0; f < facts.size(); ++f) {
      const std::string& id = input_.facts[static_cast<std::size_t>(first) + f].id;
      const auto found = input_.values.find(id);
      known.push_back(found == input_.values.end() ? nullptr : &found->second);
      if (known.back() != nullptr) continue;
      open.push_back(facts[f]);
      ids.push_back(id);
    }
    std::vector<Value> searched;
    if (!open.empty()) searched = find_values(model_, input_, open, ids);
    std::vector<Value> out;
    auto next = searched.begin();
    for (const at::Tensor* value : known)
      out.push_back(value == nullptr ? std::move(*next++)
                                     : known_value(*value, at::zeros_like(*value)));
    return out;
  }

  /// Writes `share` [d_model, facts] at the j-th layer.
  Json write_layer(std::size_t j, const std::vector<FactRows>& facts, std::int64_t first,
                   const at::Tensor& share) {
    const std::int64_t layer = input_.layers[j];
    const auto [keys, half] = fact_keys(model_, facts, layer);
    PastKeys past = past_[layer];
    if (alike_ > 0) past.add(std::sqrt(alike_) * half);
    if (!others_.empty()) past.add(std::sqrt(protect_) * keys_of(model_, others_, layer));
    const Adjusted adjusted = adjust_(layer, keys, past);
    left_.resize(input_.layers.size());
    right_.resize(input_.layers.size());
    left_[j].push_back(share.to(at::kFloat));
    right_[j].push_back(adjusted.keys.to(at::kFloat).contiguous());
    const MatrixRef down = model_.mlp_down(layer);
    model_ = changed(model_, down, left_[j].back(), right_[j].back());
    for (std::size_t f = 0; f < facts.size(); ++f) {
      FactTrace& trace = plan_.traces[static_cast<std::size_t>(first) + f];
      trace.keys.emplace_back(layer, keys.select(1, static_cast<std::int64_t>(f)));
      trace.residual = std::max(trace.residual, adjusted.residual);
    }
    Json note{
        {"layer", layer},
        {"first_fact", first},
        {"facts", facts.size()},
        {"weight_norm", norm_of(model_.mlp_down(layer)) / norm_of(input_.model.mlp_down(layer))}};
    note.update(adjusted.notes);
    return note;
  }

  const EditInput& input_;
  const Adjust& adjust_;
  std::vector<std::string> contexts_;
  Decoder model_;
  EditPlan plan_;
  std::vector<std::vector<at::Tensor>> left_, right_;  ///< [layer][turn]
  std::map<std::int64_t, PastKeys> past_;
  double protect_ = 0, alike_ = 0;
  bool history_ = true;
  std::vector<PromptRow> others_;  ///< that the turn protects
  Json fact_notes_ = Json::array(), layer_notes_ = Json::array();
};

}  // namespace

std::vector<Parameter> mass_edit_numbers(std::span<const Parameter> own) {
  std::vector<Parameter> out(std::begin(kShared), std::end(kShared));
  out.insert(out.end(), own.begin(), own.end());
  return out;
}

const std::vector<WordParameter>& mass_edit_words() {
  static const std::vector<WordParameter> kWords{
      {"contexts", "auto", {}, "auto, or a file with one literal template with {} a line"}};
  return kWords;
}

EditPlan plan_mass_edit(const EditInput& input, const Adjust& adjust) {
  MassEdit edit(input, adjust);
  const auto count = static_cast<std::int64_t>(input.facts.size());
  const std::int64_t batch = input.batch > 0 ? input.batch : count;
  for (std::int64_t first = 0; first < count; first += batch) {
    if (!edit.write(first, std::min(count, first + batch))) break;
  }
  return edit.plan();
}

}  // namespace lancet
