// Editors of many facts in turns: what was written before, what is protected, and facts whose
// subject is the first token.
#include "core/error.h"
#include "surgery/leak_prompts.h"
#include "surgery/sink.h"
#include "tests/surgery/mass_tiny.h"

using namespace lancet;
using namespace lancet::mass_tiny;

TEST_CASE("mass edits: the past as a panel and as a matrix is the dense system's", "[slow]") {
  // At layer 0 keys do not depend on what is written there, so all keys of the traces are the past.
  const auto [method, count] = GENERATE(
      table<std::string, int>({{"memit", 8}, {"memit", 52}, {"alphaedit", 8}, {"alphaedit", 52}}));
  CAPTURE(method, count);
  Tiny tiny(6);
  tiny.facts.clear();
  const std::vector<std::string> subjects{"ab", "b", "a c", "c", "cab", "the a"},
      prompts{"the {} c", "{} a c", "c b {} the", "a {} b", "b {}", "{} the"}, targets{"the", "b"};
  for (int i = 0; i < count; ++i) {
    const auto n = static_cast<std::size_t>(i);
    tiny.add(std::to_string(i), prompts[n % 6], subjects[n / 6 % 6], targets[n / 36]);
  }
  const bool memit = method == "memit";
  const EditPlan plan = tiny.plan(
      method, {0},
      memit
          ? std::map<std::string, std::string>{{"steps", "2"}, {"lambda", "0.5"}}
          : std::map<std::string, std::string>{{"steps", "2"}, {"threshold", "0.9"}, {"l2", "0.3"}},
      4);
  std::vector<at::Tensor> keys;
  for (const FactTrace& trace : plan.traces) keys.push_back(trace.keys.front().second);
  const at::Tensor all = at::stack(keys, 1), now = all.narrow(1, count - 4, 4);
  const at::Tensor moment = at::matmul(all, all.t());
  at::Tensor expected;
  if (memit) {
    expected = at::linalg_solve(0.5 * Tiny::covariance(0) + moment, now);
  } else {
    const auto [values, vectors] = at::linalg_eigh(Tiny::covariance(0));
    const at::Tensor space = vectors.narrow(1, 0, (values < 0.9).sum().item<std::int64_t>());
    const at::Tensor p = at::matmul(space, space.t());
    expected = at::linalg_solve(at::matmul(p, moment) + 0.3 * at::eye(tiny_edit::kFf, at::kDouble),
                                at::matmul(p, now));
  }
  CHECK(distance(plan.factors.front().right.narrow(1, count - 4, 4), expected) <
        tolerance::kReference);
}

TEST_CASE("mass edits: with history, turns at one layer end where all at once would") {
  // Order independence (editing reference 1.7): same keys, residuals on the current weights. The
  // values are taken from the whole batch's z, which the test writes turn by turn.
  const Tiny tiny(7);
  const double lambda = 0.5;
  const at::Tensor c = Tiny::covariance(2);
  at::Tensor k = at::empty({tiny_edit::kFf, 6}, at::kFloat),
             v = at::empty({tiny_edit::kModel, 6}, at::kFloat);
  Random(1, "k").fill_normal(0, {k.data_ptr<float>(), static_cast<std::size_t>(k.numel())});
  Random(1, "v").fill_normal(0, {v.data_ptr<float>(), static_cast<std::size_t>(v.numel())});
  k = k.to(at::kDouble);
  v = v.to(at::kDouble);
  const at::Tensor joint =
      at::matmul(v, at::linalg_solve(lambda * c + at::matmul(k, k.t()), k).t());
  at::Tensor turns = at::zeros_like(joint);
  for (int turn = 0; turn < 3; ++turn) {
    const at::Tensor now = k.narrow(1, 2L * turn, 2), seen = k.narrow(1, 0, 2L * turn + 2);
    const at::Tensor missing = v.narrow(1, 2L * turn, 2) - at::matmul(turns, now);
    turns = turns +
            at::matmul(missing, at::linalg_solve(lambda * c + at::matmul(seen, seen.t()), now).t());
  }
  CHECK(distance(turns, joint) < 1e-10);
}

TEST_CASE("mass edits: a later turn sees the earlier one's weights and keys") {
  const Tiny tiny(8);
  const EditPlan turns = tiny.plan("memit", {0, 1}, {{"lambda", "0.5"}}, 2);
  REQUIRE(turns.factors[0].left.size(1) == 3);
  CHECK(turns.notes["layers"].size() == 4);
  // The first turn is the batch of the first two facts.
  Tiny two(8);
  two.facts.pop_back();
  const EditPlan first = two.plan("memit", {0, 1}, {{"lambda", "0.5"}});
  CHECK(turns.factors[1].right.narrow(1, 0, 2).equal(first.factors[1].right));
  // The second one is planned on the model that carries the first, with the first one's keys kept.
  Decoder edited = tiny.model;
  for (const Factors& factors : first.factors)
    edited = edited.with_weight(factors.tensor, edited.weight(factors.tensor) +
                                                    at::matmul(factors.left, factors.right.t()));
  const Editor& editor = find_editor("memit");
  const Parameters parameters(editor.numbers, editor.words,
                              {{"lambda", "0.5"},
                               {"history", "0"},
                               {"contexts", (tiny.scratch / "contexts.txt").string()},
                               {"steps", std::to_string(kSteps)}});
  const EditPlan alone = editor.plan({edited,
                                      tiny.tokenizer,
                                      {tiny.facts[2]},
                                      {0, 1},
                                      [](std::int64_t layer) { return Tiny::covariance(layer); },
                                      parameters,
                                      0});
  CHECK(distance(turns.factors[0].left.narrow(1, 2, 1), alone.factors[0].left.to(at::kDouble)) <
        tolerance::kReference);
  CHECK(distance(turns.factors[0].right.narrow(1, 2, 1), alone.factors[0].right.to(at::kDouble)) >
        0.01);  // the past counts
  // What the first turn's keys read from the second turn's change is less with the past than
  // without.
  const auto moved = [&](const at::Tensor& right, const at::Tensor& left) {
    double sum = 0;
    for (const FactTrace& trace : first.traces)
      sum += (left.to(at::kDouble) * right.to(at::kDouble).dot(trace.keys.front().second))
                 .norm()
                 .item<double>();
    return sum;
  };
  CHECK(moved(turns.factors[0].right.select(1, 2), turns.factors[0].left.select(1, 2)) <
        0.8 * moved(alone.factors[0].right.select(1, 0), alone.factors[0].left.select(1, 0)));
}

TEST_CASE("mass edits: what belongs to a fact does not depend on the facts beside it") {
  Tiny all(9);
  const EditPlan together = all.plan("memit", {1}, {{"lambda", "0.5"}});
  for (std::size_t f = 0; f < 3; ++f) {
    Tiny one(9);
    one.facts = {all.facts[f]};
    const EditPlan alone = one.plan("memit", {1}, {{"lambda", "0.5"}});
    CHECK(distance(together.traces[f].value, alone.traces[0].value) < tolerance::kForward);
    CHECK(together.traces[f].losses.sizes() == alone.traces[0].losses.sizes());
  }
}

TEST_CASE("turns: one that `keeps` refuses is taken back, and what came before stands") {
  const auto method = GENERATE(as<std::string>(), "memit", "rome");
  CAPTURE(method);
  Tiny tiny(9);
  const std::map<std::string, std::string> options{
      {"contexts", (tiny.scratch / "contexts.txt").string()}, {"steps", "4"}};
  const Editor& editor = find_editor(method);
  const Parameters parameters(editor.numbers, editor.words, options);
  const std::vector<std::int64_t> layers{1};
  const auto covariance = [](std::int64_t layer) { return Tiny::covariance(layer); };
  EditInput input{tiny.model, tiny.tokenizer, tiny.facts, layers, covariance, parameters, 0, 1};
  int asked = 0;
  input.keeps = [&](const Decoder& edited) {
    CHECK_FALSE(edited.weight(edited.mlp_down(1)).equal(tiny.model.weight(tiny.model.mlp_down(1))));
    return ++asked < 3;
  };
  const EditPlan stopped = editor.plan(input);
  CHECK(asked == 3);
  REQUIRE(stopped.traces.size() == 2);
  REQUIRE(stopped.factors.front().left.size(1) == 2);
  tiny.facts.pop_back();
  const EditPlan two =
      editor.plan({tiny.model, tiny.tokenizer, tiny.facts, layers, covariance, parameters, 0, 1});
  CHECK(stopped.factors.front().left.equal(two.factors.front().left));
  CHECK(stopped.factors.front().right.equal(two.factors.front().right));
}

TEST_CASE("mass edits: what is protected is about no subject of the file, and each only once") {
  const Tiny tiny(10);
  const auto about = [](const char* id, const char* subject) {
    return Fact{.id = id, .subject = subject, .prompt = "The capital of {} is the", .target = "b"};
  };
  const std::vector<Fact> facts{about("1", "France"), about("2", "Peru")};
  const auto both = other_rows(tiny.tokenizer, facts, facts);
  const auto one = other_rows(tiny.tokenizer, std::span(facts).first(1), facts);
  REQUIRE_FALSE(one.empty());
  CHECK(both.size() <= one.size() + 2);  // the lists differ by the facts' own subjects at most
  const auto others = protected_subjects(facts[0], 24);
  const bool lists_peru = std::ranges::count(others, "Peru") > 0;
  CHECK(one.size() <= others.size() - (lists_peru ? 1 : 0));
  for (const PromptRow& row : one)
    CHECK(row.lookup + 1 == static_cast<std::int64_t>(row.ids.size()));
}

TEST_CASE("memit: protected keys join the left-hand side as keys of the past do") {
  // other keys O with weight w: A = (lambda C + w O O^T + K K^T)^-1 K
  const Tiny tiny(11);
  const EditPlan plan =
      tiny.plan("memit", {0}, {{"lambda", "0.5"}, {"protect", "2"}, {"steps", "2"}});
  std::vector<at::Tensor> keys;
  for (const FactTrace& trace : plan.traces) keys.push_back(trace.keys.front().second);
  const at::Tensor k = at::stack(keys, 1);
  const at::Tensor o = keys_of(tiny.model, other_rows(tiny.tokenizer, tiny.facts, tiny.facts), 0);
  REQUIRE(o.size(1) > 0);
  const at::Tensor expected = at::linalg_solve(
      0.5 * Tiny::covariance(0) + 2 * at::matmul(o, o.t()) + at::matmul(k, k.t()), k);
  CHECK(distance(plan.factors.front().right, expected) < tolerance::kReference);
}

TEST_CASE("mass edits: alike=1 counts the bare key and the contexts' mean, not their mean alone") {
  // A = (lambda C + (K_b K_b^T + K_c K_c^T) / 2)^-1 (K_b + K_c) / 2
  const Tiny tiny(12);
  std::vector<at::Tensor> bare, others;
  for (const Fact& fact : tiny.facts) {
    const auto rows = fact_rows(tiny.tokenizer, fact, kContexts).rewriting;
    const at::Tensor keys = read_rows(tiny.model, rows, 0, false).keys.to(at::kDouble);
    bare.push_back(keys[0]);
    others.push_back(keys.narrow(0, 1, keys.size(0) - 1).mean(0));
  }
  const at::Tensor b = at::stack(bare, 1), c = at::stack(others, 1), mean = (b + c) / 2;
  const at::Tensor moment = (at::matmul(b, b.t()) + at::matmul(c, c.t())) / 2;
  const auto found = [&](const std::string& method, std::map<std::string, std::string> options) {
    options.emplace("steps", "2");
    options.emplace("alike", "1");
    return tiny.plan(method, {0}, options).factors.front().right;
  };
  CHECK(distance(found("memit", {{"lambda", "0.5"}}),
                 at::linalg_solve(0.5 * Tiny::covariance(0) + moment, mean)) <
        tolerance::kReference);
  const auto [values, vectors] = at::linalg_eigh(Tiny::covariance(0));
  const at::Tensor space = vectors.narrow(1, 0, (values < 0.9).sum().item<std::int64_t>());
  const at::Tensor p = at::matmul(space, space.t());
  CHECK(
      distance(found("alphaedit", {{"threshold", "0.9"}, {"l2", "0.3"}}),
               at::linalg_solve(at::matmul(p, moment) + 0.3 * at::eye(tiny_edit::kFf, at::kDouble),
                                at::matmul(p, mean))) < tolerance::kReference);
}

namespace {

/// How many times as long as in the other contexts the stream behind each layer is at the subject
/// of the bare prompt.
std::vector<double> first_token_ratios(const Tiny& tiny, const FactRows& rows) {
  std::vector<double> out;
  for (std::int64_t layer = 0; layer < tiny.model.spec().layers; ++layer) {
    std::vector<double> lengths;
    for (const PromptRow& row : rows.rewriting) {
      FactRows one = rows;
      one.rewriting = {row};
      lengths.push_back(streams(tiny.model, {one}, layer).norm().item<double>());
    }
    out.push_back(lengths[0] / ((lengths[1] + lengths[2]) / 2));
  }
  return out;
}

}  // namespace

TEST_CASE("sink: the highest layer behind which the first token is as long as others") {
  const Tiny tiny(13);
  const FactRows first = fact_rows(tiny.tokenizer, tiny.facts[1], kContexts),
                 later = fact_rows(tiny.tokenizer, tiny.facts[0], kContexts);
  REQUIRE(first.rewriting.front().lookup == 0);
  REQUIRE(later.rewriting.front().lookup > 0);
  const std::vector<double> ratios = first_token_ratios(tiny, first);
  for (const double limit : {ratios[0] * 1.001, ratios[1] * 1.001, ratios[2] * 1.001, 1e-3, 1e3}) {
    CAPTURE(limit);
    for (std::int64_t layer = 0; layer < 3; ++layer) {
      std::int64_t expected = layer;
      for (std::int64_t l = 0; l <= layer; ++l) {
        if (ratios[static_cast<std::size_t>(l)] <= limit) expected = l;
      }
      CHECK(layer_below_sink(tiny.model, first, layer, limit) == expected);
    }
  }
  CHECK(layer_below_sink(tiny.model, later, 2, 1e-3) == 2);
  CHECK(layer_below_sink(tiny.model, first, 2, 0) == 2);
}

TEST_CASE("sink: such facts are written lower and first, the others on the model that has them",
          "[slow]") {
  std::uint64_t seed = 14;
  double limit = 0;
  for (; limit == 0 && seed < 40; ++seed) {
    const Tiny tiny(seed);
    const auto ratios =
        first_token_ratios(tiny, fact_rows(tiny.tokenizer, tiny.facts[1], kContexts));
    if (ratios[0] * 1.01 < std::min(ratios[1], ratios[2])) limit = ratios[0] * 1.005;
  }
  REQUIRE(limit > 0);
  Tiny tiny(--seed);
  const std::string sink = std::to_string(limit);
  const std::map<std::string, std::string> options{{"lambda", "0.5"}, {"sink", sink}};
  const EditPlan all = tiny.plan("memit", {1, 2}, options);
  REQUIRE(all.factors.size() == 3);
  CHECK(all.factors[0].layer == 0);
  const auto columns = [](const at::Tensor& matrix) {
    return (matrix.norm(2, 0) > 0).to(at::kLong);
  };
  CHECK(columns(all.factors[0].left).equal(at::tensor({0L, 1L, 0L})));
  CHECK(columns(all.factors[1].left).equal(at::tensor({1L, 0L, 1L})));
  CHECK(columns(all.factors[2].right).equal(at::tensor({1L, 0L, 1L})));
  const Fact low = tiny.facts[1];
  const std::vector<Fact> others{tiny.facts[0], tiny.facts[2]};
  tiny.facts = {low};
  const EditPlan alone = tiny.plan("memit", {0}, {{"lambda", "0.5"}});
  CHECK(distance(all.factors[0].left.select(1, 1),
                 alone.factors[0].left.select(1, 0).to(at::kDouble)) < tolerance::kForward);
  CHECK(distance(all.factors[0].right.select(1, 1),
                 alone.factors[0].right.select(1, 0).to(at::kDouble)) < tolerance::kForward);
  // rome does the same, fact by fact.
  tiny.facts = {others[0], low};
  const EditPlan rome = tiny.plan("rome", {2}, {{"sink", sink}});
  REQUIRE(rome.factors.size() == 2);
  CHECK(rome.factors[0].layer == 0);
  CHECK(columns(rome.factors[0].right).equal(at::tensor({0L, 1L})));
  CHECK(columns(rome.factors[1].right).equal(at::tensor({1L, 0L})));
}
