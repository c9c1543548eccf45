#include "surgery/mass_edit.h"

#include <algorithm>
#include <cmath>
#include <map>

#include <c10/core/GradMode.h>
#include <fmt/format.h>

#include "core/error.h"
#include "model/runtime.h"
#include "surgery/contexts.h"
#include "surgery/down.h"
#include "surgery/mass_groups.h"
#include "surgery/mass_values.h"
#include "surgery/sink.h"
#include "surgery/turns.h"

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
    kSinkLimit,
};

/// W + left right^T in the precision and layout of the model.
Decoder changed(const Decoder& model, const std::vector<DownPart>& down, const at::Tensor& left,
                const at::Tensor& right) {
  const OneThread inside;
  Decoder out = model;
  for (const DownPart& part : down) {
    const at::Tensor own = right.narrow(0, part.first, part.width);
    if (own.count_nonzero().item<std::int64_t>() > 0)
      out = out.with_change(part.matrix, at::matmul(left, own.t()));
  }
  return out;
}

double norm_of(const Decoder& model, const std::vector<DownPart>& down) {
  const OneThread inside;
  double square = 0;
  for (const DownPart& part : down) {
    const double norm = model.weight(part.matrix).to(at::kCPU, at::kDouble).norm().item<double>();
    square += norm * norm;
  }
  return std::sqrt(square);
}

/// Mean over facts of |column|.
double mean_norm(const at::Tensor& columns) { return columns.norm(2, 0).mean().item<double>(); }

/// The facts of one call, written in turns.
class MassEdit {
 public:
  MassEdit(const EditInput& input, const Adjust& adjust, double protect)
      : input_(input), adjust_(adjust), contexts_(contexts_of(input)), model_(input.model) {
    const Json& given = input.parameters.json();
    if (given.contains("protect"))
      protect_ = input.parameters.number_or("protect", is_sampled(input.parameters) ? protect : 0);
    if (given.contains("alike"))
      alike_ = input.parameters.number_or("alike", is_sampled(input.parameters) ? 1 : 0);
    history_ = given.value("history", 1) == 1;
  }

  /// Facts [first, last), on the model that has the earlier ones. False when `keeps` took them
  /// back.
  bool write(std::int64_t first, std::int64_t last) {
    if (take_turn()) return true;
    turn_ = {};
    const Decoder before = model_;
    const std::size_t notes = layer_notes_.size();
    begin_traces(first, last);
    const auto groups = fact_groups(model_, input_, contexts_, first, last);
    for (const FactGroup& group : groups) write_group(group, first);
    if (input_.keeps && !input_.keeps(model_)) {
      take_back(before, first, notes);
      return false;
    }
    if (history_ && last < std::ssize(input_.facts)) remember_keys(groups);
    keep_turn(first, notes);
    return true;
  }

  [[nodiscard]] EditPlan plan() {
    plan_.factors = columns_.factors(input_.model, std::ssize(plan_.traces));
    plan_.notes = {{"contexts", contexts_}, {"facts", fact_notes_}, {"layers", layer_notes_}};
    return std::move(plan_);
  }

 private:
  void begin_traces(std::int64_t first, std::int64_t last) {
    for (std::int64_t f = first; f < last; ++f) {
      FactTrace trace;
      trace.id = input_.facts[static_cast<std::size_t>(f)].id;
      fact_notes_.push_back({{"id", trace.id}});
      plan_.traces.push_back(std::move(trace));
    }
  }

  /// The keys of a turn that is done, for those behind it.
  void remember_keys(const std::vector<FactGroup>& groups) {
    for (const FactGroup& group : groups) {
      for (const std::int64_t layer : group.layers) {
        const FactKeys keys = fact_keys(model_, group.rows, layer);
        add_past(layer, keys.mean);
        if (alike_ > 0) add_past(layer, std::sqrt(alike_) * keys.half);
      }
    }
  }

  void add_past(std::int64_t layer, const at::Tensor& keys) {
    past_[layer].add(keys);
    if (input_.turns == nullptr) return;
    turn_.tensors.emplace(fmt::format("past.{}", turn_.json["past"].size()), keys);
    turn_.json["past"].push_back(layer);
  }

  void add_part(std::int64_t layer, const std::vector<std::int64_t>& places, const at::Tensor& left,
                const at::Tensor& right) {
    columns_.add(layer, places, left, right);
    model_ = changed(model_, down_parts(model_, layer), left, right);
    if (input_.turns == nullptr) return;
    const std::size_t part = turn_.json["parts"].size();
    turn_.tensors.emplace(fmt::format("left.{}", part), left);
    turn_.tensors.emplace(fmt::format("right.{}", part), right);
    turn_.json["parts"].push_back({{"layer", layer}, {"places", places}});
  }

  /// What the turn that began with fact `first` and layer note `notes` has added.
  void keep_turn(std::int64_t first, std::size_t notes) {
    if (input_.turns == nullptr) return;
    for (auto f = static_cast<std::size_t>(first); f < plan_.traces.size(); ++f) {
      turn_.add(plan_.traces[f]);
      turn_.json["facts"].push_back(fact_notes_[f]);
    }
    for (std::size_t n = notes; n < layer_notes_.size(); ++n)
      turn_.json["layers"].push_back(layer_notes_[n]);
    input_.turns->keep(turn_);
  }

  /// The next turn of an earlier run, as if it had been written now.
  bool take_turn() {
    const auto kept = input_.turns == nullptr ? std::nullopt : input_.turns->take();
    if (!kept) return false;
    for (FactTrace& trace : kept->traces()) plan_.traces.push_back(std::move(trace));
    for (const Json& note : kept->json.at("facts")) fact_notes_.push_back(note);
    for (const Json& note : kept->json.at("layers")) layer_notes_.push_back(note);
    std::size_t at = 0;
    for (const Json& part : kept->json.at("parts")) {
      add_part(part.at("layer"), part.at("places"), kept->tensors.at(fmt::format("left.{}", at)),
               kept->tensors.at(fmt::format("right.{}", at)));
      ++at;
    }
    at = 0;
    for (const Json& layer : kept->json.value("past", Json::array()))
      add_past(layer, kept->tensors.at(fmt::format("past.{}", at++)));
    turn_ = {};
    return true;
  }

  void write_group(const FactGroup& group, std::int64_t first) {
    others_ = protect_ == 0 ? std::vector<PromptRow>()
                            : other_rows(input_.tokenizer, group.facts, input_.facts);
    const at::Tensor wanted = values(group);
    const std::int64_t top = group.layers.back();
    at::Tensor missing = wanted - streams(model_, group.rows, top);
    const double whole = mean_norm(missing);
    for (std::size_t j = 0; j < group.layers.size(); ++j) {
      const auto parts_left = static_cast<double>(group.layers.size() - j);
      Json note = write_layer(group, group.layers[j], missing / parts_left);
      note["first_fact"] = first;
      missing = wanted - streams(model_, group.rows, top);
      note["missing"] = whole > 0 ? mean_norm(missing) / whole : 0;
      layer_notes_.push_back(std::move(note));
    }
  }

  /// Z float64 [d_model, facts], noted in the traces.
  at::Tensor values(const FactGroup& group) {
    std::vector<at::Tensor> targets;
    for (Value& value : all_values(group)) {
      const std::size_t f = targets.size(), place = static_cast<std::size_t>(group.places[f]);
      FactTrace& trace = plan_.traces[place];
      trace.value = value.value;
      trace.losses = value.losses;
      trace.subject_last = group.rows[f].rewriting.front().lookup;
      fact_notes_[place]["passes"] = value.losses.size(0);
      fact_notes_[place]["layer"] = group.layers.back();
      targets.push_back(value.value);
    }
    return at::stack(targets, 1);
  }

  /// As if the turn that began with fact `first` had not been.
  void take_back(const Decoder& before, std::int64_t first, std::size_t notes) {
    model_ = before;
    plan_.traces.resize(static_cast<std::size_t>(first));
    columns_.drop_from(first);
    while (layer_notes_.size() > notes) layer_notes_.erase(layer_notes_.size() - 1);
    while (std::ssize(fact_notes_) > first) fact_notes_.erase(fact_notes_.size() - 1);
  }

  /// Known values, and what a search finds for the other facts.
  std::vector<Value> all_values(const FactGroup& group) {
    std::vector<FactRows> open;
    std::vector<std::string> ids;
    std::vector<const at::Tensor*> known;
    for (std::size_t f = 0; f < group.facts.size(); ++f) {
      const auto found = input_.values.find(group.facts[f].id);
      known.push_back(found == input_.values.end() ? nullptr : &found->second);
      if (known.back() != nullptr) continue;
      open.push_back(group.rows[f]);
      ids.push_back(group.facts[f].id);
    }
    std::vector<Value> searched;
    if (!open.empty()) searched = find_values(model_, input_, group.layers.back(), open, ids);
    std::vector<Value> out;
    out.reserve(known.size());
    auto next = searched.begin();
    for (const at::Tensor* value : known)
      out.push_back(value == nullptr ? std::move(*next++)
                                     : known_value(*value, at::zeros_like(*value)));
    return out;
  }

  /// Writes `share` [d_model, facts] at one layer.
  Json write_layer(const FactGroup& group, std::int64_t layer, const at::Tensor& share) {
    const auto [keys, half] = fact_keys(model_, group.rows, layer);
    PastKeys past = past_[layer];
    if (alike_ > 0) past.add(std::sqrt(alike_) * half);
    if (!others_.empty()) past.add(std::sqrt(protect_) * keys_of(model_, others_, layer));
    const Adjusted adjusted = adjust_(layer, keys, past);
    const at::Tensor left = share.to(at::kFloat), right = adjusted.keys.to(at::kFloat).contiguous();
    const std::vector<DownPart> down = down_parts(model_, layer);
    add_part(layer, group.places, left, right);
    for (std::size_t f = 0; f < group.places.size(); ++f) {
      FactTrace& trace = plan_.traces[static_cast<std::size_t>(group.places[f])];
      trace.keys.emplace_back(layer, keys.select(1, static_cast<std::int64_t>(f)));
      trace.residual = std::max(trace.residual, adjusted.residual);
    }
    Json note{{"layer", layer},
              {"facts", group.facts.size()},
              {"weight_norm", norm_of(model_, down) / norm_of(input_.model, down)}};
    note.update(adjusted.notes);
    return note;
  }

  const EditInput& input_;
  const Adjust& adjust_;
  std::vector<std::string> contexts_;
  Decoder model_;
  EditPlan plan_;
  FactorColumns columns_;
  EditTurn turn_;  ///< that is being written
  std::map<std::int64_t, PastKeys> past_;
  double protect_ = 0, alike_ = 0;
  bool history_ = true;
  std::vector<PromptRow> others_;  ///< that the group's facts protect
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

EditPlan plan_mass_edit(const EditInput& input, const Adjust& adjust, double protect) {
  MassEdit edit(input, adjust, protect);
  const auto count = static_cast<std::int64_t>(input.facts.size());
  const std::int64_t batch = input.batch > 0 ? input.batch : count;
  for (std::int64_t first = 0; first < count; first += batch) {
    if (!edit.write(first, std::min(count, first + batch))) break;
  }
  return edit.plan();
}

}  // namespace lancet
