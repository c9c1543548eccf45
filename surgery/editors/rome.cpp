// ROME, Rank-One Model Editing. Meng et al. 2022, arXiv:2202.05262; with the keys of r-ROME, Gupta
// et al. 2024, arXiv:2403.07175.
//   k* = mean over contexts of the down projection's input at the subject's last token      [d_in]
//   u  = C^-1 k* / |C^-1 k*|                                                                [d_in]
//   v* = argmin of the loss in value.h                                                      [d_out]
//   lambda = (v* - W k) / (k . u)                                                           [d_out]
//   W <- W + lambda u^T
// Which k: keys=mean takes the plain mean in u and lambda (r-ROME: the written value is v* wherever
// k* is met); keys=half weighs the bare key k_b 1/2 and the mean k_c of the others 1/2, as MEMIT
// does; keys=bare takes the bare prompt's key. keys=alike has both answered alike: u is the
// shortest in the norm of C with k_b . u = k_c . u, and lambda is written to the bare key, so that
// it gets v* and the contexts get W k_c + delta, which is what was searched for. A subject at the
// very beginning has a key of its own kind there: what answers the half mean need not answer it.
// auto is alike for sampled contexts and mean for those of a file. original=1 is the published
// code, u from the mean and lambda from the bare key, which explodes where the two differ.
//
// Beyond the papers: u is made with C + protect * mean_i k_i k_i^T in place of C, k_i the keys of
// other subjects in the same prompt (protected_subjects), so that they keep their answers.
// protect=0, or contexts of a file, is the published update; so is stop_nll=0.
//
// In a layer of experts W is that of all routed experts side by side and k has each expert's key
// times its weight (down.h): only experts that the subject is routed to are changed.
//
// Precision: keys in the model's precision, sums and the solve in float64, factors rounded once to
// float32. Several facts are edited one after another, each on the model that carries the earlier
// ones.
#include <cmath>
#include <map>

#include <fmt/format.h>

#include "core/error.h"
#include "core/progress.h"
#include "model/runtime.h"
#include "surgery/contexts.h"
#include "surgery/direction.h"
#include "surgery/down.h"
#include "surgery/editor.h"
#include "surgery/key.h"
#include "surgery/sink.h"
#include "surgery/solve.h"
#include "surgery/turns.h"
#include "surgery/value.h"

namespace lancet {
namespace {

constexpr Parameter kNumbers[] = {
    {"steps", 25, 1, 1000, true,
     "forward passes of the value's optimisation; the last one does not update"},
    {"lr", 0.5, 1e-6, 100, false, "Adam's step size"},
    {"clamp", 4, 1e-3, 1e3, false, "largest |delta| as a multiple of |v_0|"},
    {"kl", 0.0625, 0, 1e3, false, "weight of the KL term at the bare subject"},
    {"weight_decay", 1e-3, 0, 1e3, false, "weight of |delta| / |v_0|^2"},
    {"stop", 0.05, 0, 1e3, false, "stop when the loss is below"},
    {"stop_nll", kAuto, 0, 1e3, false,
     "stop when the target is the arg max in every row and every NLL is below, 0 = off; auto: 0.1 "
     "with sampled contexts, else 0"},
    {"context_count", 20, 0, 200, true, "sampled texts before the prompt, beside the bare one"},
    {"first_contexts", kAuto, 0, 200, true,
     "contexts, the bare prompt among them, that the search for v* begins with until the target is "
     "sure there, 0 = all from the start; auto: 5 with sampled contexts, else 0"},
    {"protect", kAuto, 0, 1e6, false,
     "weight of the keys of other subjects in the same prompt, beside C; auto: 10 with sampled "
     "contexts, else 0"},
    {"original", 0, 0, 1, true, "1 = the published code's bare key in lambda"},
    kSinkLimit,
};
constexpr double kSmallestCosine = 1e-3;  ///< |k . u| / |k| below which lambda would explode

const std::vector<WordParameter>& words() {
  static const std::vector<WordParameter> kWords{
      {"contexts", "auto", {}, "auto, or a file with one literal template with {} a line"},
      {"keys",
       "auto",
       {"auto", "mean", "half", "bare", "alike"},
       "key of the update: mean over the contexts, half bare, bare, or bare and contexts alike"},
  };
  return kWords;
}

std::string keys_word(const Parameters& parameters) {
  const std::string& word = parameters.word("keys");
  if (word != "auto") return word;
  return is_sampled(parameters) ? "alike" : "mean";
}

/// Weights of the rewriting rows in the mean key.
at::Tensor key_weights(std::int64_t rows, const std::string& keys) {
  at::Tensor weights = at::zeros({rows}, at::kDouble);
  if (keys == "mean" || rows == 1) {
    weights.fill_(1.0 / static_cast<double>(rows));
  } else {
    if (keys != "bare") weights.fill_(0.5 / static_cast<double>(rows - 1));
    weights[0] = keys != "bare" ? 0.5 : 1.0;
  }
  return weights;
}

EditKeys pick_keys(const RowStates& states, std::int64_t rewriting, const Parameters& parameters) {
  const at::Tensor keys = states.keys.narrow(0, 0, rewriting).to(at::kCPU, at::kDouble);
  const at::Tensor values = states.values.narrow(0, 0, rewriting).to(at::kCPU, at::kDouble);
  const std::string word = keys_word(parameters);
  const at::Tensor weights = key_weights(rewriting, word);
  const at::Tensor mean = at::mv(keys.t(), weights);
  if (parameters.integer("original") == 1) return {mean, keys[0], values[0], {}};
  if (word == "alike" && rewriting > 1)
    return {mean, keys[0], values[0], keys[0] - keys.narrow(0, 1, rewriting - 1).mean(0)};
  return {mean, mean, at::mv(values.t(), weights), {}};
}

ValueOptions value_options(const Parameters& parameters) {
  return {parameters.integer("steps"),
          parameters.number("lr"),
          parameters.number("clamp"),
          parameters.number("kl"),
          parameters.number("weight_decay"),
          parameters.number("stop"),
          parameters.number_or("stop_nll", is_sampled(parameters) ? 0.1 : 0),
          parameters.integer_or("first_contexts", is_sampled(parameters) ? 5 : 0)};
}

struct OneEdit {
  std::int64_t layer = 0;
  at::Tensor left, right;  ///< float32 [d_out], [d_in]
  FactTrace trace;
  Json notes;
};

/// C of each layer that is written, factored once.
using Solvers = std::map<std::int64_t, SpdSolver>;

void check_cosine(double cosine, const Fact& fact, std::int64_t layer) {
  if (cosine > kSmallestCosine) return;
  fail(ErrorKind::kNumeric, "edit",
       fmt::format("'{}' at layer {}: expected |k . u| / |k| above {}, found {}", fact.subject,
                   layer, kSmallestCosine, cosine),
       "take method option keys=mean, another layer, or a prompt that does not begin with the "
       "subject");
}

OneEdit edit_one(const Decoder& model, const EditInput& input, const Fact& fact,
                 const std::vector<std::string>& contexts, Solvers& solvers) {
  const FactRows rows = fact_rows(input.tokenizer, fact, contexts);
  const std::int64_t layer =
      layer_below_sink(model, rows, input.layers.front(), sink_limit(input.parameters));
  const SpdSolver& solver = solvers.try_emplace(layer, input.covariance(layer)).first->second;
  std::vector<PromptRow> all = rows.rewriting;
  all.push_back(rows.subject_only);
  RowStates states = read_rows(model, all, layer);
  const EditKeys keys =
      pick_keys(states, static_cast<std::int64_t>(rows.rewriting.size()), input.parameters);
  const auto known = input.values.find(fact.id);
  const Value value = known == input.values.end() ? optimise_value(model, rows, states, layer,
                                                                   value_options(input.parameters))
                                                  : known_value(known->second, states.values[0]);
  states.chunks.clear();
  trim_memory();

  const double weight =
      input.parameters.number_or("protect", is_sampled(input.parameters) ? 10 : 0);
  const at::Tensor others =
      weight > 0 ? other_keys(model, input.tokenizer, fact, layer) : at::zeros({0, 0}, at::kDouble);
  const Direction found = edit_direction(keys, solver, others, weight);
  const double product = keys.key.dot(found.u).item<double>();
  const double cosine = std::fabs(product) / keys.key.norm().item<double>();
  check_cosine(cosine, fact, layer);
  OneEdit out;
  out.layer = layer;
  out.left = ((value.value - keys.output) / product).to(at::kFloat);
  out.right = found.u.to(at::kFloat);
  out.trace.id = fact.id;
  out.trace.keys.emplace_back(layer, keys.direction);
  out.trace.value = value.value;
  out.trace.losses = value.losses;
  out.trace.subject_last = rows.rewriting.front().lookup;
  out.trace.residual = found.residual;
  out.notes = {
      {"id", fact.id},
      {"layer", layer},
      {"ridge", solver.ridge()},
      {"passes", value.losses.size(0)},
      {"denominator", cosine},
      {"value_ratio", value.delta.norm().item<double>() /
                          std::max(1e-30, states.values[0].to(at::kDouble).norm().item<double>())},
      {"solve_residual", found.residual}};
  return out;
}

/// W + lambda u^T in the precision and layout of the model, for the facts that follow.
Decoder with_edit(const Decoder& model, const OneEdit& edit) {
  Decoder out = model;
  for (const DownPart& part : down_parts(model, edit.layer)) {
    const at::Tensor right = edit.right.narrow(0, part.first, part.width);
    if (right.count_nonzero().item<std::int64_t>() == 0) continue;
    out = out.with_change(part.matrix, at::outer(edit.left, right));
  }
  return out;
}

EditTurn turn_of(const OneEdit& edit) {
  EditTurn out;
  out.add(edit.trace);
  out.json["layer"] = edit.layer;
  out.json["notes"] = edit.notes;
  out.tensors.emplace("left", edit.left);
  out.tensors.emplace("right", edit.right);
  return out;
}

/// The next fact of an earlier run; nothing where there is none.
std::optional<OneEdit> taken(const EditInput& input, Solvers& solvers) {
  const auto kept = input.turns == nullptr ? std::nullopt : input.turns->take();
  if (!kept) return std::nullopt;
  OneEdit out;
  out.layer = kept->json.at("layer");
  solvers.try_emplace(out.layer, input.covariance(out.layer));
  out.left = kept->tensors.at("left");
  out.right = kept->tensors.at("right");
  out.trace = kept->traces().front();
  out.notes = kept->json.at("notes");
  return out;
}

/// The factors of every matrix that some fact changes: a column a fact, zeros for those that are
/// written elsewhere.
std::vector<Factors> factors_of(const Decoder& model, const std::vector<OneEdit>& edits,
                                const Solvers& solvers) {
  std::vector<Factors> out;
  if (edits.empty()) return out;
  for (const auto& [layer, solver] : solvers) {
    std::vector<at::Tensor> left, right;
    for (const OneEdit& edit : edits) {
      const bool here = edit.layer == layer;
      left.push_back(here ? edit.left : at::zeros_like(edit.left));
      right.push_back(here ? edit.right : at::zeros({key_width(model, layer)}, at::kFloat));
    }
    const at::Tensor all_left = at::stack(left, 1), all_right = at::stack(right, 1);
    for (const DownPart& part : down_parts(model, layer)) {
      const at::Tensor own = all_right.narrow(0, part.first, part.width).contiguous();
      if (own.count_nonzero().item<std::int64_t>() == 0) continue;
      out.push_back({layer, part.matrix.name, part.matrix.layout, all_left, own, part.first});
    }
  }
  return out;
}

EditPlan plan(const EditInput& input) {
  const std::vector<std::string> contexts = contexts_of(input);
  trim_memory();
  Solvers solvers;
  Decoder model = input.model;
  EditPlan out;
  std::vector<OneEdit> edits;
  Json facts = Json::array();
  Progress progress("facts", input.facts.size(), Progress::Unit::kItems);
  for (std::size_t i = 0; i < input.facts.size(); ++i) {
    std::optional<OneEdit> known = taken(input, solvers);
    OneEdit edit =
        known ? std::move(*known) : edit_one(model, input, input.facts[i], contexts, solvers);
    if (i + 1 < input.facts.size() || input.keeps) model = with_edit(model, edit);
    if (!known && input.keeps && !input.keeps(model)) break;
    if (!known && input.turns != nullptr) input.turns->keep(turn_of(edit));
    if (const at::Tensor& losses = edit.trace.losses; losses.size(0) > 0)
      progress.set_note(fmt::format("{}: loss {:.3f}, p(target) {:.3f}", edit.trace.id,
                                    losses[-1][0].item<double>(), losses[-1][4].item<double>()));
    progress.advance(1);
    out.traces.push_back(edit.trace);
    facts.push_back(edit.notes);
    edits.push_back(std::move(edit));
  }
  out.factors = factors_of(input.model, edits, solvers);
  out.notes = {{"contexts", contexts}, {"facts", facts}};
  return out;
}

}  // namespace

extern const Editor editor_rome;
const Editor editor_rome{.name = "rome",
                         .title = "ROME with consistent keys (r-ROME)",
                         .paper = "arXiv:2202.05262, arXiv:2403.07175",
                         .numbers = kNumbers,
                         .words = words(),
                         .max_facts = 0,
                         .batches = false,
                         .experts = true,
                         .plan = plan};

}  // namespace lancet
