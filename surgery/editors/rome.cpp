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
// code, u from the mean and lambda from the bare key, which explodes where the two differ. Beyond
// the papers: u is made with C + protect * mean_i k_i k_i^T in place of C, k_i the keys of other
// subjects in the same prompt (protected_subjects), so that they keep their answers. protect=0, or
// contexts of a file, is the published update; so is stop_nll=0. In a layer of experts W is that of
// all routed experts side by side and k has each expert's key times its weight (down.h): only
// experts that the subject is routed to are changed. Precision: keys in the model's precision, sums
// and the solve in float64, factors rounded once to float32. Several facts are edited one after
// another, each on the model that carries the earlier ones.
#include <cmath>

#include <fmt/format.h>

#include "core/error.h"
#include "core/progress.h"
#include "model/runtime.h"
#include "surgery/contexts.h"
#include "surgery/down.h"
#include "surgery/editor.h"
#include "surgery/key.h"
#include "surgery/leak_prompts.h"
#include "surgery/solve.h"
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
};
constexpr std::int64_t kProtected = 24;   ///< other subjects, where their list has so many
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

struct Keys {
  at::Tensor direction;   ///< from which u is made
  at::Tensor key;         ///< in lambda
  at::Tensor output;      ///< W key
  at::Tensor difference;  ///< to which u is to give nothing, or undefined
};

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

Keys pick_keys(const RowStates& states, std::int64_t rewriting, const Parameters& parameters) {
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

/// Keys of other subjects in the fact's own prompt, float64 [n, d_in]; n = 0 where none fit.
at::Tensor other_keys(const Decoder& model, const Tokenizer& tokenizer, const Fact& fact,
                      std::int64_t layer) {
  std::vector<PromptRow> rows;
  for (const std::string& subject : protected_subjects(fact, kProtected)) {
    try {
      rows.push_back(locate_subject(tokenizer, "{}", fact.prompt, subject));
    } catch (const Error&) {
      continue;  // shares its last token with what follows: has no key of its own
    }
  }
  if (rows.empty()) return at::zeros({0, 0}, at::kDouble);
  return read_rows(model, rows, layer, false).keys.to(at::kCPU, at::kDouble);
}

/// (C + weight / n * K^T K)^-1 B by Woodbury's identity, B [d_in, m], K [n, d_in] of other_keys;
/// `residual` is that of the systems with C.
Solution solve_protected(const SpdSolver& solver, const at::Tensor& columns,
                         const at::Tensor& others, double weight) {
  if (others.size(0) == 0 || weight == 0) return solver.solve(columns);
  const OneThread inside;
  const std::int64_t count = columns.size(1);
  const Solution all = solver.solve(at::cat({columns, others.t()}, 1));
  const at::Tensor x = all.x.narrow(1, 0, count),
                   inverse_others = all.x.narrow(1, count, others.size(0));
  at::Tensor small = at::matmul(others, inverse_others);
  small.diagonal().add_(static_cast<double>(others.size(0)) / weight);
  const at::Tensor share = at::linalg_solve(small, at::matmul(others, x));
  return {x - at::matmul(inverse_others, share), all.residual};
}

struct Direction {
  at::Tensor u;  ///< float64 [d_in], of length 1
  double residual = 0;
};

/// C'^-1 k*, without what it answers to the difference (`keys`), C' = C with the others' keys.
Direction direction_of(const Keys& keys, const SpdSolver& solver, const at::Tensor& others,
                       double weight) {
  std::vector<at::Tensor> columns{keys.direction};
  if (keys.difference.defined()) columns.push_back(keys.difference);
  const Solution solved = solve_protected(solver, at::stack(columns, 1), others, weight);
  at::Tensor u = solved.x.select(1, 0);
  if (keys.difference.defined()) {
    const at::Tensor other = solved.x.select(1, 1);
    const double size = keys.difference.dot(other).item<double>();
    if (size > 0) u = u - keys.difference.dot(u).item<double>() / size * other;
  }
  return {u / u.norm(), solved.residual};
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
  at::Tensor left, right;  ///< float32 [d_out], [d_in]
  FactTrace trace;
  Json notes;
};

OneEdit edit_one(const Decoder& model, const EditInput& input, const Fact& fact, std::int64_t layer,
                 const std::vector<std::string>& contexts, const SpdSolver& solver) {
  const FactRows rows = fact_rows(input.tokenizer, fact, contexts);
  std::vector<PromptRow> all = rows.rewriting;
  all.push_back(rows.subject_only);
  RowStates states = read_rows(model, all, layer);
  const Keys keys =
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
  const Direction found = direction_of(keys, solver, others, weight);
  const at::Tensor& u = found.u;
  const double product = keys.key.dot(u).item<double>();
  const double cosine = std::fabs(product) / keys.key.norm().item<double>();
  if (!(cosine > kSmallestCosine)) {
    fail(ErrorKind::kNumeric, "edit",
         fmt::format("'{}' at layer {}: expected |k . u| / |k| above {}, found {}", fact.subject,
                     layer, kSmallestCosine, cosine),
         "take method option keys=mean, another layer, or a prompt that does not begin with the "
         "subject");
  }
  OneEdit out;
  out.left = ((value.value - keys.output) / product).to(at::kFloat);
  out.right = u.to(at::kFloat);
  out.trace.id = fact.id;
  out.trace.keys.emplace_back(layer, keys.direction);
  out.trace.value = value.value;
  out.trace.losses = value.losses;
  out.trace.subject_last = rows.rewriting.front().lookup;
  out.trace.residual = found.residual;
  out.notes = {
      {"id", fact.id},
      {"passes", value.losses.size(0)},
      {"denominator", cosine},
      {"value_ratio", value.delta.norm().item<double>() /
                          std::max(1e-30, states.values[0].to(at::kDouble).norm().item<double>())},
      {"solve_residual", found.residual}};
  return out;
}

/// W + lambda u^T in the precision and layout of the model, for the facts that follow.
Decoder with_edit(const Decoder& model, std::int64_t layer, const OneEdit& edit) {
  Decoder out = model;
  for (const DownPart& part : down_parts(model, layer)) {
    const at::Tensor right = edit.right.narrow(0, part.first, part.width);
    if (right.count_nonzero().item<std::int64_t>() == 0) continue;
    const MatrixRef& down = part.matrix;
    const at::Tensor change = at::outer(edit.left, right).to(down.weight.options());
    out = out.with_weight(
        down.name, down.weight + (down.layout == MatrixLayout::kOutIn ? change : change.t()));
  }
  return out;
}

/// The factors of every matrix that some fact changes.
std::vector<Factors> factors_of(const Decoder& model, std::int64_t layer, const at::Tensor& left,
                                const at::Tensor& right) {
  std::vector<Factors> out;
  for (const DownPart& part : down_parts(model, layer)) {
    const at::Tensor own = right.narrow(0, part.first, part.width).contiguous();
    if (own.count_nonzero().item<std::int64_t>() == 0) continue;
    out.push_back({layer, part.matrix.name, part.matrix.layout, left, own, part.first});
  }
  return out;
}

EditPlan plan(const EditInput& input) {
  const std::int64_t layer = input.layers.front();
  const std::vector<std::string> contexts = contexts_of(input);
  trim_memory();
  const SpdSolver solver(input.covariance(layer));
  Decoder model = input.model;
  EditPlan out;
  std::vector<at::Tensor> left, right;
  Json facts = Json::array();
  Progress progress("facts", input.facts.size(), Progress::Unit::kItems);
  for (std::size_t i = 0; i < input.facts.size(); ++i) {
    OneEdit edit = edit_one(model, input, input.facts[i], layer, contexts, solver);
    if (i + 1 < input.facts.size() || input.keeps) model = with_edit(model, layer, edit);
    if (input.keeps && !input.keeps(model)) break;
    if (const at::Tensor& losses = edit.trace.losses; losses.size(0) > 0)
      progress.set_note(fmt::format("{}: loss {:.3f}, p(target) {:.3f}", edit.trace.id,
                                    losses[-1][0].item<double>(), losses[-1][4].item<double>()));
    progress.advance(1);
    left.push_back(edit.left);
    right.push_back(edit.right);
    out.traces.push_back(std::move(edit.trace));
    facts.push_back(std::move(edit.notes));
  }
  if (!left.empty())
    out.factors = factors_of(input.model, layer, at::stack(left, 1), at::stack(right, 1));
  out.notes = {{"contexts", contexts}, {"ridge", solver.ridge()}, {"facts", facts}};
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
                         .plan = plan};

}  // namespace lancet
