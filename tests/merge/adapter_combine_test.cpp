// Adapters combined into one.
#include "tests/merge/adapter_fixture.h"

using namespace lancet;
using namespace lancet::test;

TEST_CASE_METHOD(AdapterFixture,
                 "adapter combine: adapters of different bases are refused or warned of") {
  const auto adapter = [&](const std::string& name, const Json& config) {
    save(name, one_module(random_values(10, 4), random_values(12, 5)), config);
    return Adapter::open(scratch / name);
  };
  const auto base = [](const std::string& name) { return Json{{"base_model_name_or_path", name}}; };
  const auto one = adapter("one", base("llama")), same = adapter("same", base("llama/")),
             none = adapter("none", {}), two = adapter("two", base("qwen")),
             turned =
                 adapter("turned", {{"base_model_name_or_path", "gpt2"}, {"fan_in_fan_out", true}});
  CombineOptions options;
  options.weights = {1, 1};
  const auto warnings = [&](const auto& a, const auto& b) {
    return combine_adapters(nullptr, {a, b}, options).report["warnings"];
  };
  CHECK(warnings(one, same).empty());
  CHECK(warnings(one, none).empty());
  REQUIRE(warnings(one, two).size() == 1);
  CHECK_THAT(warnings(one, two)[0].template get<std::string>(),
             Catch::Contains("'llama'") && Catch::Contains("'qwen'"));
  const auto error = error_of([&] { static_cast<void>(warnings(one, turned)); });
  REQUIRE(error);
  CHECK(error->kind() == ErrorKind::kMismatch);
}

TEST_CASE_METHOD(AdapterFixture,
                 "adapter combine: cat, svd, core_space and knots sum the updates exactly") {
  const Values b1 = random_values(10, 4), a1 = random_values(12, 5), b2 = random_values(5, 6),
               a2 = random_values(6, 7);
  save("one", one_module(b1, a1), {});
  save("two", one_module(b2, a2, 1), {{"r", 1}, {"lora_alpha", 3}});
  const std::vector<std::shared_ptr<const Adapter>> adapters{Adapter::open(scratch / "one"),
                                                             Adapter::open(scratch / "two")};
  Matrix expected = times(matrix(5, 2, b1), matrix(2, 6, a1), 2 * .7);
  add_scaled(expected, times(matrix(5, 1, b2), matrix(1, 6, a2), 3 * -.4), 1);
  CombineOptions options;
  options.weights = {.7, -.4};
  options.inner = find_merge_method("task_arithmetic");
  for (const std::string method : {"cat", "svd", "core_space", "knots"}) {
    INFO(method);
    options.method = method;
    options.rank = method == "cat" ? 0 : 3;
    const Combined found = combine_adapters(&jacobi(), adapters, options);
    CHECK(found.file.modules.at(0).rank == 3);
    CHECK(distance(update_of(found.file), expected) < 1e-5);
  }
  // Rank 1: the best approximation there is.
  options.method = "svd";
  options.rank = 1;
  const Combined cut = combine_adapters(&jacobi(), adapters, options);
  Matrix rest = expected;
  add_scaled(rest, update_of(cut.file), -1);
  const Svd svd = jacobi().svd(expected);
  const double best = svd.values[1] * svd.values[1] + svd.values[2] * svd.values[2];
  CHECK(squared_norm(rest) == Approx(best).epsilon(1e-4));
  CHECK(cut.report["modules"][0]["energy"].get<double>() ==
        Approx(1 - best / squared_norm(expected)).epsilon(1e-4));
}

TEST_CASE_METHOD(AdapterFixture,
                 "adapter combine: linear adds factors, and refuses other ranks and DoRA") {
  const Values b1 = random_values(10, 4), a1 = random_values(12, 5), b2 = random_values(10, 6),
               a2 = random_values(12, 7);
  save("one", one_module(b1, a1), {});
  save("two", one_module(b2, a2), {{"lora_alpha", 6}});
  CombineOptions options;
  options.method = "linear";
  options.weights = {.7, .4};
  options.inner = find_merge_method("task_arithmetic");
  const Combined found = combine_adapters(
      nullptr, {Adapter::open(scratch / "one"), Adapter::open(scratch / "two")}, options);
  Matrix b = matrix(5, 2, b1), a = matrix(2, 6, a1);
  for (double& v : b.values) v *= std::sqrt(.7 * 2);
  for (double& v : a.values) v *= std::sqrt(.7 * 2);
  add_scaled(b, matrix(5, 2, b2), std::sqrt(.4 * 3));
  add_scaled(a, matrix(2, 6, a2), std::sqrt(.4 * 3));
  CHECK(distance(update_of(found.file), times(b, a)) < 1e-5);
  save("three", one_module(random_values(5, 6), random_values(6, 7), 1), {{"r", 1}});
  const auto error = error_of([&] {
    static_cast<void>(combine_adapters(
        nullptr, {Adapter::open(scratch / "one"), Adapter::open(scratch / "three")}, options));
  });
  REQUIRE(error);
  CHECK(error->kind() == ErrorKind::kMismatch);
}

TEST_CASE_METHOD(AdapterFixture,
                 "adapter combine: an inner method in core space is that method on the cores") {
  const Values b1 = random_values(10, 4), a1 = random_values(12, 5), b2 = random_values(10, 6),
               a2 = random_values(12, 7);
  save("one", one_module(b1, a1), {});
  save("two", one_module(b2, a2), {});
  CombineOptions options;
  options.weights = {1, 1};
  options.inner = find_merge_method("magmax");
  options.rank = 4;
  const std::vector<std::shared_ptr<const Adapter>> adapters{Adapter::open(scratch / "one"),
                                                             Adapter::open(scratch / "two")};
  const std::vector<Matrix> bs{matrix(5, 2, b1), matrix(5, 2, b2)},
      as{matrix(2, 6, a1), matrix(2, 6, a2)};
  options.method = "core_space";
  const Matrix left = jacobi().svd(beside(bs)).left, right = jacobi().svd(below(as)).right;
  std::vector<Matrix> cores;
  for (std::size_t i = 0; i < 2; ++i)
    cores.push_back(
        times(jacobi().multiply(left, times(bs[i], as[i], 2), true, false), transposed(right)));
  Matrix core = cores[0];
  for (std::size_t i = 0; i < core.values.size(); ++i) {
    if (std::fabs(cores[1].values[i]) > std::fabs(core.values[i]))
      core.values[i] = cores[1].values[i];
  }
  CHECK(distance(update_of(combine_adapters(&jacobi(), adapters, options).file),
                 times(times(left, core), right)) < 1e-5);
  options.method = "knots";
  const Svd svd =
      jacobi().svd(beside(std::vector<Matrix>{times(bs[0], as[0], 2), times(bs[1], as[1], 2)}));
  Matrix rights = columns_of(svd.right, 0, 6);
  const Matrix other = columns_of(svd.right, 6, 12);
  for (std::size_t i = 0; i < rights.values.size(); ++i) {
    if (std::fabs(other.values[i]) > std::fabs(rights.values[i]))
      rights.values[i] = other.values[i];
  }
  Matrix expected = svd.left;
  scale_columns(expected, svd.values);
  expected = times(expected, rights);
  CHECK(distance(update_of(combine_adapters(&jacobi(), adapters, options).file), expected) < 1e-5);
}

TEST_CASE_METHOD(AdapterFixture,
                 "adapter combine: options and adapters without a result are refused") {
  const Values b = random_values(10, 4), a = random_values(12, 5);
  save("one", one_module(b, a), {});
  save("two", one_module(random_values(10, 6), random_values(12, 7)), {});
  save("other", one_module(b, a, 2, "model.layers.1.q"), {});
  const auto refusal = [&](const CombineOptions& options, ErrorKind kind,
                           const std::string& second = "two") {
    const auto error = error_of([&] {
      static_cast<void>(combine_adapters(
          &jacobi(), {Adapter::open(scratch / "one"), Adapter::open(scratch / second)}, options));
    });
    REQUIRE(error);
    CHECK(error->kind() == kind);
    return error->message();
  };
  const double nan = std::numeric_limits<double>::quiet_NaN();
  CombineOptions options{.weights = {1, nan}, .inner = find_merge_method("task_arithmetic")};
  CHECK_THAT(refusal(options, ErrorKind::kUsage), Catch::Contains("finite"));
  options.weights = {1, 1e300};
  CHECK_THAT(refusal(options, ErrorKind::kNumeric), Catch::Contains("range of float32"));
  options.weights = {1, 1};
  options.method = "core_space";
  options.inner = find_merge_method("slerp");
  CHECK_THAT(refusal(options, ErrorKind::kUsage), Catch::Contains("at most 1 adapter, found 2"));
  options.inner = find_merge_method("model_stock");
  options.weights = {1, 0.5};
  CHECK_THAT(refusal(options, ErrorKind::kUsage), Catch::Contains("model_stock has none"));
  options.inner = find_merge_method("ties");
  options.settings = {{"weight", 2}};
  CHECK_THAT(refusal(options, ErrorKind::kUsage), Catch::Contains("in --weights"));
  options.settings.clear();
  options.weights = {1, 1};
  options.inner = find_merge_method("model_stock");
  CHECK_THAT(refusal(options, ErrorKind::kMismatch, "other"),
             Catch::Contains("at least 2 adapters, found 1"));
  // One adapter alone: t of nearswap has no default.
  options.inner = find_merge_method("nearswap");
  options.weights = {1};
  const auto error = error_of([&] { check_combine(options, 1); });
  REQUIRE(error);
  CHECK(error->kind() == ErrorKind::kUsage);
  CHECK_THAT(error->message(), Catch::Contains("expected a value of t"));
  options.settings = {{"t", 0.3}};
  CHECK_NOTHROW(check_combine(options, 1));
  save("nan", one_module(Values(10, nan), a), {});
  options = {.weights = {1, 1}, .inner = find_merge_method("task_arithmetic")};
  CHECK_THAT(refusal(options, ErrorKind::kNumeric, "nan"), Catch::Contains("lora_B.weight"));
}
