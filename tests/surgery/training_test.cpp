// The trained baselines and UltraEdit against plain float64 loops over whole forward passes.
#include <c10/core/GradMode.h>

#include "core/error.h"
#include "core/parallel.h"
#include "surgery/editor.h"
#include "surgery/subject.h"
#include "tests/catch.h"
#include "tests/surgery/plain_llama.h"
#include "tests/surgery/tiny_model.h"
#include "tests/surgery/tolerances.h"

using namespace lancet;
using reference::PlainLlama;

namespace {

struct Tiny : tiny_edit::Taught {
  using Taught::Taught;
  [[nodiscard]] EditPlan plan(const std::string& method, const std::vector<std::int64_t>& layers,
                              const std::map<std::string, std::string>& options,
                              std::int64_t batch = 0) const {
    const Editor& editor = find_editor(method);
    const Parameters parameters(editor.numbers, editor.words, options);
    return editor.plan({model, tokenizer, facts, layers, [](std::int64_t) { return at::Tensor(); },
                        parameters, 0, batch});
  }
};

struct Text {
  std::vector<TokenId> prompt, target;
};
Text text_of(const Tiny& tiny, std::size_t fact) {
  const Fact& f = tiny.facts[fact];
  const std::string prompt = fill_template(f.prompt, f.subject);
  return {tiny.tokenizer.encode(prompt).ids, target_tokens(tiny.tokenizer, prompt, f.target)};
}

/// Mean over the target's tokens of -log p; `last`: all of them from the prompt's last position.
at::Tensor fact_nll(PlainLlama& llama, const Text& text, bool last) {
  std::vector<TokenId> ids = text.prompt;
  if (!last) ids.insert(ids.end(), text.target.begin(), text.target.end() - 1);
  const at::Tensor log_p = llama.log_probs(ids);
  at::Tensor sum = at::zeros({}, at::kDouble);
  for (std::size_t t = 0; t < text.target.size(); ++t) {
    const auto row = static_cast<std::int64_t>(text.prompt.size() - 1 + (last ? 0 : t));
    sum = sum - log_p[row][text.target[t]];
  }
  return sum / static_cast<double>(text.target.size());
}

/// Adam as its paper writes it.
struct PlainAdam {
  double lr;
  int count = 0;
  at::Tensor m, v;
  at::Tensor step(const at::Tensor& value, const at::Tensor& g) {
    if (count++ == 0) m = v = at::zeros_like(g);
    m = 0.9 * m + 0.1 * g;
    v = 0.999 * v + 0.001 * g * g;
    return value - lr * (m / (1 - std::pow(0.9, count))) /
                       ((v / (1 - std::pow(0.999, count))).sqrt() + 1e-8);
  }
};

at::Tensor change(const Factors& factors) {
  return at::matmul(factors.left.to(at::kDouble), factors.right.to(at::kDouble).t());
}
double distance(const at::Tensor& found, const at::Tensor& expected) {
  return ((found.to(at::kDouble) - expected).norm() / expected.norm()).item<double>();
}

}  // namespace

TEST_CASE("ft: the change of the matrix is that of a plain float64 training loop", "[slow]") {
  const auto [last, norm] =
      GENERATE(table<bool, double>({{false, 0.0}, {true, 0.0}, {false, 0.004}}));
  CAPTURE(last, norm);
  const Tiny tiny(1);
  constexpr int kSteps = 8;
  const EditPlan plan = tiny.plan("ft", {1},
                                  {{"steps", "8"},
                                   {"lr", "0.001"},
                                   {"norm", std::to_string(norm)},
                                   {"objective", last ? "last" : "target"}});
  const c10::AutoGradMode gradient(true);
  PlainLlama llama(tiny.weights);
  const at::Tensor start = llama.weights.at(PlainLlama::down(1)).clone();
  at::Tensor now = start;
  PlainAdam adam{0.001, 0, {}, {}};
  for (int step = 0; step < kSteps; ++step) {
    const at::Tensor leaf = now.clone().set_requires_grad(true);
    llama.weights[PlainLlama::down(1)] = leaf;
    at::Tensor loss = at::zeros({}, at::kDouble);
    for (std::size_t f = 0; f < 3; ++f) {
      const at::Tensor nll = fact_nll(llama, text_of(tiny, f), last);
      CHECK(plan.traces[f].losses[step][0].item<double>() ==
            Approx(nll.item<double>()).epsilon(tolerance::kReference));
      loss = loss + nll / 3.0;
    }
    loss.backward();
    now = adam.step(now, leaf.grad());
    if (norm > 0) now = start + (now - start).clamp(-norm, norm);
  }
  REQUIRE(plan.factors.size() == 1);
  CHECK(plan.joint);
  CHECK(plan.factors[0].tensor == PlainLlama::down(1));
  CHECK(distance(change(plan.factors[0]), (now - start).detach()) < tolerance::kReference);
}

TEST_CASE("ft: turns go on from the weights of the turn before, each with moments of its own") {
  const Tiny tiny(2);
  const std::map<std::string, std::string> options{{"steps", "4"}, {"lr", "0.001"}};
  const EditPlan turns = tiny.plan("ft", {1}, options, 2);
  Tiny first(2), second(2);
  first.facts.pop_back();
  second.facts.erase(second.facts.begin(), second.facts.begin() + 2);
  const EditPlan before = first.plan("ft", {1}, options);
  const std::string name = PlainLlama::down(1);
  second.model = second.model.with_weight(
      name, second.model.weight(name) + change(before.factors[0]).to(at::kFloat));
  const EditPlan after = second.plan("ft", {1}, options);
  CHECK(distance(change(turns.factors[0]), change(before.factors[0]) + change(after.factors[0])) <
        tolerance::kReference);
  CHECK(turns.traces.size() == 3);
}

TEST_CASE("ft: the end-of-text token is trained with end=1, and not with objective=last") {
  const Tiny tiny(3);
  const EditPlan plain = tiny.plan("ft", {1}, {{"steps", "1"}}),
                 with_end = tiny.plan("ft", {1}, {{"steps", "1"}, {"end", "1"}});
  PlainLlama llama(tiny.weights);
  Text text = text_of(tiny, 0);
  text.target.push_back(tiny.tokenizer.eos().value());
  CHECK(with_end.traces[0].losses[0][0].item<double>() ==
        Approx(fact_nll(llama, text, false).item<double>()).epsilon(tolerance::kForward));
  CHECK(plain.traces[0].losses[0][0].item<double>() !=
        Approx(with_end.traces[0].losses[0][0].item<double>()));
  CHECK_THROWS_WITH(tiny.plan("ft", {1}, {{"end", "1"}, {"objective", "last"}}),
                    Catch::Contains("objective=target"));
}

TEST_CASE("lora: the factors are those of a plain float64 training loop", "[slow]") {
  const Tiny tiny(4);
  constexpr int kSteps = 8;
  const std::vector<std::int64_t> layers{0, 2};
  const EditPlan plan =
      tiny.plan("lora", layers,
                {{"steps", "8"}, {"rank", "2"}, {"alpha", "6"}, {"lr", "0.01"}, {"stop", "0"}});
  // One step tells what A was drawn: B is still zero then, so A has no gradient.
  const EditPlan drawn = tiny.plan("lora", layers, {{"steps", "1"}, {"rank", "2"}, {"alpha", "6"}});
  const c10::AutoGradMode gradient(true);
  PlainLlama llama(tiny.weights);
  std::vector<at::Tensor> values;
  std::vector<PlainAdam> adam(4, PlainAdam{0.01, 0, {}, {}});
  std::map<std::int64_t, at::Tensor> base;
  for (std::size_t l = 0; l < layers.size(); ++l) {
    values.push_back(drawn.factors[l].right.t().to(at::kDouble));
    values.push_back(at::zeros({tiny_edit::kModel, 2}, at::kDouble));
    base[layers[l]] = llama.weights.at(PlainLlama::down(layers[l])).clone();
    CHECK(values[2 * l].abs().max().item<double>() <= 1 / std::sqrt(48.0));
  }
  for (int step = 0; step < kSteps; ++step) {
    std::vector<at::Tensor> leaves;
    for (const at::Tensor& value : values) leaves.push_back(value.clone().set_requires_grad(true));
    for (std::size_t l = 0; l < layers.size(); ++l)
      llama.weights[PlainLlama::down(layers[l])] =
          base.at(layers[l]) + 3.0 * at::matmul(leaves[2 * l + 1], leaves[2 * l]);
    at::Tensor loss = at::zeros({}, at::kDouble);
    for (std::size_t f = 0; f < 3; ++f)
      loss = loss + fact_nll(llama, text_of(tiny, f), false) / 3.0;
    loss.backward();
    for (std::size_t i = 0; i < values.size(); ++i)
      values[i] = adam[i].step(values[i], leaves[i].grad());
  }
  for (std::size_t l = 0; l < layers.size(); ++l) {
    CAPTURE(l);
    CHECK(distance(plan.factors[l].right.t(), values[2 * l]) < tolerance::kReference);
    CHECK(distance(plan.factors[l].left, 3.0 * values[2 * l + 1]) < tolerance::kReference);
  }
}

TEST_CASE("ultraedit: the change is the paper's dense one, turn by turn") {
  const auto [only_targets, is_auto] =
      GENERATE(table<bool, bool>({{false, false}, {true, false}, {false, true}}));
  CAPTURE(only_targets, is_auto);
  const Tiny tiny(5);
  const std::vector<std::int64_t> layers{0, 1};
  const EditPlan plan = tiny.plan("ultraedit", layers,
                                  {{"lr", is_auto ? "auto" : "1e-3"},
                                   {"size", "0.3"},
                                   {"microbatch", "1"},
                                   {"tokens", only_targets ? "target" : "all"}},
                                  2);
  const c10::AutoGradMode gradient(true);
  PlainLlama llama(tiny.weights);
  std::map<std::int64_t, at::Tensor> base;
  for (const auto layer : layers) base[layer] = llama.weights.at(PlainLlama::down(layer)).clone();
  std::vector<at::Tensor> seen;  // rows of [h, g] of all turns
  for (const auto& turn : std::vector<std::vector<std::size_t>>{{0, 1}, {2}}) {
    std::map<std::int64_t, std::vector<at::Tensor>> inputs, slopes;
    for (const std::size_t f : turn) {
      for (const auto layer : layers) {
        const std::string name = PlainLlama::down(layer);
        llama.weights[name] = llama.weights.at(name).detach().set_requires_grad(true);
      }
      const Text text = text_of(tiny, f);
      fact_nll(llama, text, false).backward();
      for (const auto layer : layers) {
        const auto l = static_cast<std::size_t>(layer);
        const auto first = static_cast<std::int64_t>(only_targets ? text.prompt.size() - 1 : 0);
        const std::int64_t count = llama.keys[l].size(0) - first;
        inputs[layer].push_back(llama.keys[l].detach().narrow(0, first, count));
        slopes[layer].push_back(llama.outputs[l].grad().narrow(0, first, count));
        seen.push_back(at::cat({inputs[layer].back(), slopes[layer].back()}, 1));
      }
    }
    const at::Tensor all = at::cat(seen);
    const at::Tensor mean = all.mean(0), deviation = all.std(0, true) + 1e-7;
    for (const auto layer : layers) {
      const at::Tensor h = at::cat(inputs[layer]), g = at::cat(slopes[layer]);
      const at::Tensor normal = (at::cat({h, g}, 1) - mean) / deviation;
      const at::Tensor hat = normal.narrow(1, 0, tiny_edit::kFf);
      const std::string name = PlainLlama::down(layer);
      const at::Tensor steps =
          hat.square().sum(1, true) * normal.narrow(1, tiny_edit::kFf, tiny_edit::kModel);
      const auto mean_length = [](const at::Tensor& rows) {
        return rows.norm(2, 1).mean().item<double>();
      };
      const at::Tensor answers = at::matmul(h, llama.weights.at(name).detach().t());
      const double lr = is_auto ? 0.3 * mean_length(answers) / mean_length(steps) : 1e-3;
      const at::Tensor values = -lr * steps;
      const at::Tensor step = at::linalg_solve(
          at::matmul(h.t(), h) + at::eye(tiny_edit::kFf, at::kDouble), at::matmul(h.t(), values));
      llama.weights[name] = llama.weights.at(name).detach() + step.t();
    }
  }
  for (std::size_t l = 0; l < layers.size(); ++l) {
    CAPTURE(l);
    const at::Tensor expected =
        llama.weights.at(PlainLlama::down(layers[l])).detach() - base.at(layers[l]);
    CHECK(distance(change(plan.factors[l]), expected) < tolerance::kReference);
  }
}

TEST_CASE("trained editors: the same bits for one and three threads", "[slow]") {
  const auto method = GENERATE(as<std::string>(), "ft", "lora", "ultraedit");
  CAPTURE(method);
  Tiny tiny(6);
  for (int i = 0; i < 20; ++i) {
    tiny.add(std::to_string(10 + i), i % 2 == 0 ? "the {} c" : "{} a c",
             i % 3 == 0 ? "ab c" : "b a", i % 5 == 0 ? "the" : "b");
  }
  const int before = parallel::threads();
  std::vector<at::Tensor> changes;
  for (const int threads : {1, 3}) {
    parallel::set_threads(threads);
    const EditPlan plan = tiny.plan(method, {1}, {});
    changes.push_back(plan.factors.front().right);
  }
  parallel::set_threads(before);
  CHECK(changes[0].equal(changes[1]));
}
