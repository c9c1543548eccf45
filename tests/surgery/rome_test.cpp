// The engine's ROME against the plain float64 reference on a random model of three layers.
#include "core/error.h"
#include "surgery/contexts.h"
#include "surgery/edit.h"
#include "surgery/editor.h"
#include "surgery/key.h"
#include "surgery/leak_prompts.h"
#include "surgery/solve.h"
#include "surgery/subject.h"
#include "surgery/value.h"
#include "tests/catch.h"
#include "tests/surgery/reference_rome.h"
#include "tests/surgery/tiny_model.h"
#include "tests/surgery/tolerances.h"

using namespace lancet;

namespace {

using Tiny = tiny_edit::Model;

/// A random symmetric positive definite matrix, float64.
at::Tensor random_covariance(std::int64_t n) {
  at::Tensor a = at::empty({n, 2 * n}, at::kFloat);
  Random(5, "covariance")
      .fill_normal(0, {a.data_ptr<float>(), static_cast<std::size_t>(a.numel())});
  a = a.to(at::kDouble);
  return at::matmul(a, a.t()) / static_cast<double>(2 * n);
}

std::vector<double> to_vector(const at::Tensor& value) {
  const at::Tensor plain = value.to(at::kDouble).contiguous().flatten();
  return {plain.data_ptr<double>(), plain.data_ptr<double>() + plain.numel()};
}

double relative_distance(const std::vector<double>& found, const std::vector<double>& expected) {
  REQUIRE(found.size() == expected.size());
  double difference = 0, size = 0;
  for (std::size_t i = 0; i < found.size(); ++i) {
    difference += (found[i] - expected[i]) * (found[i] - expected[i]);
    size += expected[i] * expected[i];
  }
  return std::sqrt(difference / size);
}

Fact tiny_fact(const std::string& prompt, const std::string& subject, const std::string& target) {
  Fact fact;
  fact.id = "t";
  fact.prompt = prompt;
  fact.subject = subject;
  fact.target = target;
  return fact;
}

reference::Solution solve_plainly(const Tiny& tiny, const FactRows& rows, std::int64_t layer,
                                  const at::Tensor& covariance, int steps,
                                  std::size_t first_rows = 0) {
  reference::Problem problem{.weights = tiny.weights,
                             .rewriting = {},
                             .subject = {rows.subject_only.ids, rows.subject_only.lookup},
                             .target = rows.target,
                             .layer = layer,
                             .covariance = to_vector(covariance),
                             .steps = steps,
                             .first_rows = first_rows};
  for (const PromptRow& row : rows.rewriting) problem.rewriting.push_back({row.ids, row.lookup});
  return reference::rome(problem);
}

const std::vector<std::string> kContexts{"{}", "the a {}", "b c a {}", "c {}"};

fs::path write_contexts(const Scratch& scratch) {
  std::string text;
  for (const std::string& context : kContexts) text += context + "\n";
  write_file(scratch / "contexts.txt", text);
  return scratch / "contexts.txt";
}

}  // namespace

TEST_CASE("rome: the reference's forward pass is the engine's") {
  const Tiny tiny(1);
  const std::vector<std::int32_t> ids{3, 16, 4, 6, 5};
  const auto expected = reference::last_logits(tiny.weights, ids);
  const at::Tensor logits = tiny.model.forward(
      at::tensor(std::vector<std::int64_t>(ids.begin(), ids.end()), at::kLong).unsqueeze(0));
  CHECK(relative_distance(to_vector(logits[0][4]), expected) < tolerance::kForward);
}

TEST_CASE("rome: key, losses, value and update are those of a plain float64 implementation",
          "[slow]") {
  const auto [seed, layer, prompt, subject, target, first] =
      GENERATE(table<std::uint64_t, std::int64_t, std::string, std::string, std::string, int>(
          {{1, 0, "the {} c", "ab", "the", 0},
           {2, 1, "{} a c", "b", "the a b", 2},
           {3, 1, "c b {} the", "a c", "b", 0},
           {4, 2, "the {}", "cab", "c", 3}}));
  CAPTURE(seed, layer, prompt, first);
  const Tiny tiny(seed);
  const at::Tensor covariance = random_covariance(tiny_edit::kFf);
  const Fact fact = tiny_fact(prompt, subject, target);
  const Editor& editor = find_editor("rome");
  const Parameters parameters(editor.numbers, editor.words,
                              {{"contexts", write_contexts(tiny.scratch).string()},
                               {"steps", "20"},
                               {"first_contexts", std::to_string(first)}});
  const EditPlan plan = editor.plan({tiny.model,
                                     tiny.tokenizer,
                                     {fact},
                                     {layer},
                                     [&](std::int64_t) { return covariance; },
                                     parameters,
                                     0});
  const auto expected = solve_plainly(tiny, fact_rows(tiny.tokenizer, fact, kContexts), layer,
                                      covariance, 20, static_cast<std::size_t>(first));

  const FactTrace& trace = plan.traces.front();
  CHECK(relative_distance(to_vector(trace.keys.front().second), expected.key) <
        tolerance::kReference);
  REQUIRE(trace.losses.size(0) == static_cast<std::int64_t>(expected.losses.size()));
  for (std::size_t step = 0; step < expected.losses.size(); ++step) {
    CAPTURE(step);
    const auto found = to_vector(trace.losses[static_cast<std::int64_t>(step)]);
    CHECK(found[0] == Approx(expected.losses[step][0]).epsilon(tolerance::kReference));
    CHECK(found[1] == Approx(expected.losses[step][1]).epsilon(tolerance::kReference));
    CHECK(found[4] == Approx(expected.losses[step][4]).epsilon(tolerance::kReference));
  }
  CHECK(relative_distance(to_vector(trace.value), expected.value) < tolerance::kReference);
  CHECK(relative_distance(to_vector(plan.factors.front().right), expected.right) <
        tolerance::kReference);
  CHECK(relative_distance(to_vector(plan.factors.front().left), expected.left) <
        tolerance::kReference);
}

TEST_CASE("rome: in a layer of experts those that the subject is routed to are changed", "[slow]") {
  const auto [seed, prompt, subject, target] =
      GENERATE(table<std::uint64_t, std::string, std::string, std::string>(
          {{1, "the {} c", "ab", "the"}, {3, "{} a c", "b", "the a b"}}));
  CAPTURE(seed, prompt);
  const Tiny tiny(seed, true);
  const at::Tensor covariance = random_covariance(tiny_edit::kExperts * tiny_edit::kExpertFf);
  const Fact fact = tiny_fact(prompt, subject, target);
  const Editor& editor = find_editor("rome");
  const Parameters parameters(
      editor.numbers, editor.words,
      {{"contexts", write_contexts(tiny.scratch).string()}, {"steps", "12"}});
  const EditPlan plan = editor.plan({tiny.model,
                                     tiny.tokenizer,
                                     {fact},
                                     {1},
                                     [&](std::int64_t) { return covariance; },
                                     parameters,
                                     0});
  const auto expected =
      solve_plainly(tiny, fact_rows(tiny.tokenizer, fact, kContexts), 1, covariance, 12);
  const FactTrace& trace = plan.traces.front();
  CHECK(relative_distance(to_vector(trace.keys.front().second), expected.key) <
        tolerance::kReference);
  CHECK(relative_distance(to_vector(trace.value), expected.value) < tolerance::kReference);
  REQUIRE(plan.factors.size() >= 2);
  at::Tensor right = at::zeros({tiny_edit::kExperts * tiny_edit::kExpertFf}, at::kDouble);
  for (const Factors& one : plan.factors) {
    CHECK(one.tensor == "model.layers.1.block_sparse_moe.experts." +
                            std::to_string(one.first / tiny_edit::kExpertFf) + ".w2.weight");
    CHECK(relative_distance(to_vector(one.left), expected.left) < tolerance::kReference);
    right.narrow(0, one.first, tiny_edit::kExpertFf).copy_(one.right.select(1, 0));
  }
  CHECK(relative_distance(to_vector(right), expected.right) < tolerance::kReference);
}

TEST_CASE("rome: experts that the subject is not routed to keep their matrices") {
  const Tiny tiny(2, true);
  const Fact fact = tiny_fact("the {} c", "ab", "the");
  const Editor& editor = find_editor("rome");
  write_file(tiny.scratch / "bare.txt", "{}\n");
  const Parameters parameters(editor.numbers, editor.words,
                              {{"contexts", (tiny.scratch / "bare.txt").string()}, {"steps", "3"}});
  const EditPlan plan = editor.plan({tiny.model,
                                     tiny.tokenizer,
                                     {fact},
                                     {0},
                                     [](std::int64_t) { return at::Tensor(); },
                                     parameters,
                                     0});
  CHECK(plan.factors.size() == tiny_edit::kChosen);
}

TEST_CASE("rome: protected subjects join the covariance with their weight") {
  const Tiny tiny(9);
  const Fact fact = tiny_fact("the {} c", "ab", "the");
  const Editor& editor = find_editor("rome");
  const at::Tensor covariance = random_covariance(tiny_edit::kFf);
  const auto direction = [&](const std::string& protect) {
    const Parameters parameters(editor.numbers, editor.words,
                                {{"contexts", write_contexts(tiny.scratch).string()},
                                 {"steps", "2"},
                                 {"protect", protect}});
    const EditPlan plan = editor.plan({tiny.model,
                                       tiny.tokenizer,
                                       {fact},
                                       {1},
                                       [&](std::int64_t) { return covariance; },
                                       parameters,
                                       0});
    return std::pair{plan.factors.front().right.select(1, 0).to(at::kDouble),
                     plan.traces.front().keys.front().second.to(at::kDouble)};
  };
  std::vector<PromptRow> rows;
  for (const std::string& subject : protected_subjects(fact, 24)) {
    rows.push_back(locate_subject(tiny.tokenizer, "{}", fact.prompt, subject));
  }
  REQUIRE(rows.size() == 24);
  const at::Tensor others = read_rows(tiny.model, rows, 1, false).keys.to(at::kDouble);
  const auto protecting = direction("25");
  const at::Tensor &found = protecting.first, &key = protecting.second;
  const at::Tensor dense = covariance + 25.0 / 24.0 * at::matmul(others.t(), others);
  const at::Tensor expected = SpdSolver(dense).solve(key).x;
  CHECK(relative_distance(to_vector(found), to_vector(expected / expected.norm())) <
        tolerance::kReference);
  // The others answer less than they would without protection.
  const auto [plain, same_key] = direction("0");
  const auto answer = [&](const at::Tensor& u) {
    return (at::mv(others, u).norm() / key.dot(u).abs()).item<double>();
  };
  CHECK(answer(found) < 0.7 * answer(plain));
}

TEST_CASE("rome: the edited matrix sends k* to v* (as far as the written key goes)") {
  const Tiny tiny(7);
  const Fact fact = tiny_fact("the {} c", "ab", "the");
  const Editor& editor = find_editor("rome");
  const auto keys = GENERATE(std::string("mean"), std::string("bare"));
  const Parameters parameters(
      editor.numbers, editor.words,
      {{"contexts", write_contexts(tiny.scratch).string()}, {"steps", "5"}, {"keys", keys}});
  const at::Tensor covariance = random_covariance(tiny_edit::kFf);
  const EditPlan plan = editor.plan({tiny.model,
                                     tiny.tokenizer,
                                     {fact},
                                     {1},
                                     [&](std::int64_t) { return covariance; },
                                     parameters,
                                     0});
  const Factors& factors = plan.factors.front();
  const at::Tensor edited =
      tiny.model.weight(tiny.model.mlp_down(1)).to(at::kDouble) +
      at::matmul(factors.left.to(at::kDouble), factors.right.to(at::kDouble).t());
  const at::Tensor written =
      at::mv(edited, plan.traces.front().keys.front().second.to(at::kDouble));
  CHECK(relative_distance(to_vector(written), to_vector(plan.traces.front().value)) <
        tolerance::kReference);
}

TEST_CASE("rome: keys=alike has the bare prompt and the contexts answered alike") {
  // u: the shortest in the norm of C with u k_b = u k_c, that is C^-1 B (B^T C^-1 B)^-1 1 of both
  // keys B up to its length; the bare key gets v*, the contexts W k_c + delta.
  const Tiny tiny(10);
  const Fact fact = tiny_fact("{} the c", "ab", "the");
  const Editor& editor = find_editor("rome");
  const Parameters parameters(
      editor.numbers, editor.words,
      {{"contexts", write_contexts(tiny.scratch).string()}, {"steps", "5"}, {"keys", "alike"}});
  const at::Tensor covariance = random_covariance(tiny_edit::kFf);
  const EditPlan plan = editor.plan({tiny.model,
                                     tiny.tokenizer,
                                     {fact},
                                     {1},
                                     [&](std::int64_t) { return covariance; },
                                     parameters,
                                     0});
  const FactRows rows =
      fact_rows(tiny.tokenizer, fact, read_contexts(write_contexts(tiny.scratch)));
  const RowStates states = read_rows(tiny.model, rows.rewriting, 1, false);
  const at::Tensor keys = states.keys.to(at::kDouble), values = states.values.to(at::kDouble);
  const at::Tensor contexts = keys.narrow(0, 1, keys.size(0) - 1).mean(0);
  const at::Tensor both = at::stack({keys[0], contexts}, 1);
  const at::Tensor inverse = at::linalg_inv(covariance);
  const at::Tensor gram = at::matmul(both.t(), at::matmul(inverse, both));
  const at::Tensor expected =
      at::mv(at::matmul(inverse, both), at::linalg_solve(gram, at::ones({2}, at::kDouble)));
  const at::Tensor left = plan.factors.front().left.select(1, 0).to(at::kDouble),
                   right = plan.factors.front().right.select(1, 0).to(at::kDouble);
  CHECK(relative_distance(to_vector(right), to_vector(expected / expected.norm())) <
        tolerance::kReference);
  const at::Tensor delta = plan.traces.front().value - values[0];
  CHECK(relative_distance(to_vector(left * right.dot(keys[0])), to_vector(delta)) <
        tolerance::kReference);
  CHECK(relative_distance(to_vector(left * right.dot(contexts)), to_vector(delta)) <
        tolerance::kReference);
}

TEST_CASE("rome: the second of two facts is planned on the model that has the first") {
  const Tiny tiny(8);
  const Editor& editor = find_editor("rome");
  const Parameters parameters(
      editor.numbers, editor.words,
      {{"contexts", write_contexts(tiny.scratch).string()}, {"steps", "4"}});
  const auto none = [](std::int64_t) { return at::Tensor(); };
  const Fact first = tiny_fact("the {} c", "ab", "the"), second = tiny_fact("c {} a", "b", "c");
  const EditPlan both =
      editor.plan({tiny.model, tiny.tokenizer, {first, second}, {1}, none, parameters, 0});
  const EditPlan one = editor.plan({tiny.model, tiny.tokenizer, {first}, {1}, none, parameters, 0});
  const Decoder edited = tiny.model.with_change(
      tiny.model.mlp_down(1), at::matmul(one.factors[0].left, one.factors[0].right.t()));
  const EditPlan next = editor.plan({edited, tiny.tokenizer, {second}, {1}, none, parameters, 0});
  REQUIRE(both.factors[0].left.size(1) == 2);
  CHECK(relative_distance(to_vector(both.factors[0].left.select(1, 0)),
                          to_vector(one.factors[0].left)) == 0);
  CHECK(relative_distance(to_vector(both.factors[0].left.select(1, 1)),
                          to_vector(next.factors[0].left)) < tolerance::kReference);
}

TEST_CASE("rome: a batch of several facts is refused, also by a plan, one after another is not") {
  const Tiny tiny(8);
  EditRequest request;
  request.model = tiny.scratch / "model";
  request.facts = {tiny_fact("the {} c", "ab", "the")};
  request.method = "rome";
  request.layers = "1";
  request.plan = true;
  Json partial;
  request.batch = 2;
  CHECK_THROWS_WITH(run_edit(request, {}, partial), Catch::Contains("found --batch 2"));
  request.batch = 1;
  CHECK_NOTHROW(run_edit(request, {}, partial));
}

TEST_CASE("rome: an option that does not exist, or a value out of range, is a usage error") {
  const Editor& editor = find_editor("rome");
  CHECK_THROWS_WITH(Parameters(editor.numbers, editor.words, {{"step", "3"}}),
                    Catch::Contains("found 'step'"));
  CHECK_THROWS_WITH(Parameters(editor.numbers, editor.words, {{"steps", "0"}}),
                    Catch::Contains("steps"));
  CHECK_THROWS_WITH(Parameters(editor.numbers, editor.words, {{"steps", "2.5"}}),
                    Catch::Contains("an integer"));
  CHECK_THROWS_WITH(Parameters(editor.numbers, editor.words, {{"keys", "medium"}}),
                    Catch::Contains("mean or half or bare"));
  CHECK_THROWS_WITH(find_editor("rom"), Catch::Contains("rome"));
}

TEST_CASE(
    "solve: the residual of an ill-conditioned system is small and a semidefinite matrix gets a "
    "ridge") {
  const at::Tensor good = random_covariance(40);
  const at::Tensor b = at::ones({40}, at::kDouble);
  const Solution solution = SpdSolver(good).solve(b);
  CHECK(solution.residual < 1e-12);
  CHECK((at::mv(good, solution.x) - b).norm().item<double>() < 1e-10);
  const at::Tensor k = at::arange(1, 41, at::kDouble);
  const SpdSolver singular(at::outer(k, k));
  CHECK(singular.ridge() > 0);
  CHECK(SpdSolver(at::Tensor()).solve(b).x.equal(b));
  CHECK_THROWS_AS(SpdSolver(-at::eye(3, at::kDouble)), Error);
  CHECK_THROWS_AS(SpdSolver(at::full({2, 2}, NAN, at::kDouble)), Error);
}
