// The public ROME code's values on SmolLM2-135M-Instruct (tests/data/edit_goldens).
#include <fmt/format.h>

#include "core/json.h"
#include "formats/containers/npz.h"
#include "surgery/key.h"
#include "surgery/solve.h"
#include "surgery/subject.h"
#include "surgery/value.h"
#include "tests/catch.h"
#include "tests/surgery/tolerances.h"

using namespace lancet;

namespace {

fs::path data_dir() {
  const char* set = std::getenv("LANCET_TEST_DATA");
  return fs::path(set != nullptr ? set : LANCET_TEST_DATA) / "edit_goldens";
}

fs::path gguf_path() {
  const char* set = std::getenv("LANCET_TEST_GGUF");
  return set != nullptr ? set : LANCET_TEST_GGUF;
}

class Goldens {
 public:
  explicit Goldens(const std::string& name)
      : file_(data_dir() / name), arrays_(parse_npz(file_.bytes(), name)) {}
  [[nodiscard]] at::Tensor get(const std::string& name) const {
    for (const NpyArray& array : arrays_) {
      if (array.name != name) continue;
      at::Tensor out = at::empty(array.shape, at::kDouble);
      for (std::int64_t i = 0; i < out.numel(); ++i)
        out.data_ptr<double>()[i] = npy_number(array, static_cast<std::uint64_t>(i), name);
      return out;
    }
    FAIL("no golden " << name);
    return {};
  }
  [[nodiscard]] at::Tensor rome(int fact, const std::string& name) const {
    return get(fmt::format("rome.{}.{}", fact, name));
  }

 private:
  MappedFile file_;
  std::vector<NpyArray> arrays_;
};

double relative_distance(const at::Tensor& found, const at::Tensor& expected) {
  return ((found.to(at::kDouble) - expected).norm() / expected.norm()).item<double>();
}

at::Tensor golden_covariance() {
  const at::Tensor upper = Goldens("second_moment_layer5.npz").get("C.layer5.upper");
  at::Tensor matrix = at::zeros({1536, 1536}, at::kDouble);
  const double* next = upper.data_ptr<double>();
  double* out = matrix.data_ptr<double>();
  for (std::int64_t r = 0; r < 1536; ++r) {
    for (std::int64_t c = r; c < 1536; ++c) out[r * 1536 + c] = out[c * 1536 + r] = *next++;
  }
  return matrix;
}

struct GoldenFact {
  Fact fact;
  std::vector<std::string> contexts;
};

GoldenFact golden_fact(std::size_t index) {
  const Json meta = read_json(data_dir() / "goldens_multitoken.json");
  const Json& record = meta["rome_facts"][index];
  GoldenFact out{{}, meta["contexts"].get<std::vector<std::string>>()};
  out.fact.id = std::to_string(index);
  out.fact.prompt = record["prompt"];
  out.fact.subject = record["subject"];
  out.fact.target = record["target_new"];
  return out;
}

}  // namespace

TEST_CASE("golden: u and the right vector follow from the published inputs") {
  const Goldens goldens("goldens_multitoken.npz");
  const SpdSolver solver(golden_covariance());
  CHECK(solver.ridge() == 0);
  for (int i = 0; i < 2; ++i) {
    CAPTURE(i);
    const Solution solved = solver.solve(goldens.rome(i, "k_mean"));
    CHECK(solved.residual < 1e-12);
    const at::Tensor u = solved.x / solved.x.norm();
    CHECK(relative_distance(u, goldens.rome(i, "u")) < tolerance::kGoldenClosedForm);
    const at::Tensor lambda = (goldens.rome(i, "v_star") - goldens.rome(i, "w_k_bare")) /
                              goldens.rome(i, "k_bare").dot(u);
    CHECK(relative_distance(lambda, goldens.rome(i, "right_vector")) <
          tolerance::kGoldenClosedForm);
  }
}

TEST_CASE("golden: rows, keys, losses and v* are those of the public code", "[slow]") {
  if (!fs::exists(gguf_path()))
    LANCET_SKIP("the embedded model is not there: " + gguf_path().string());
  const ModelSource source = ModelSource::open(gguf_path());
  const Tokenizer tokenizer = Tokenizer::open(source);
  const Decoder model = Decoder::load(source);
  const Goldens goldens("goldens_multitoken.npz");
  for (std::size_t i = 0; i < 2; ++i) {
    CAPTURE(i);
    const int index = static_cast<int>(i);
    const GoldenFact golden = golden_fact(i);
    const FactRows rows = fact_rows(tokenizer, golden.fact, golden.contexts);
    std::vector<PromptRow> all = rows.rewriting;
    all.push_back(rows.subject_only);
    const at::Tensor ids = goldens.rome(index, "input_ids"), lookup = goldens.rome(index, "lookup");
    const at::Tensor mask = goldens.rome(index, "attention_mask"),
                     target = goldens.rome(index, "target_ids");
    for (std::int64_t r = 0; r < 5; ++r) {
      CAPTURE(r);
      const PromptRow& row = all[static_cast<std::size_t>(r)];
      CHECK(static_cast<double>(row.lookup) == lookup[r].item<double>());
      // The public KL row goes on behind the subject, without influence.
      if (r < 4) REQUIRE(static_cast<double>(row.ids.size()) == mask[r].sum().item<double>());
      for (std::size_t t = 0; t < row.ids.size(); ++t) {
        REQUIRE(static_cast<double>(row.ids[t]) ==
                ids[r][static_cast<std::int64_t>(t)].item<double>());
      }
    }
    REQUIRE(static_cast<std::int64_t>(rows.target.size()) == target.numel());

    const RowStates states = read_rows(model, all, 5);
    for (std::int64_t r = 0; r < 4; ++r) {
      CHECK(relative_distance(states.keys[r], goldens.rome(index, "k_each")[r]) <
            tolerance::kGoldenKey);
    }
    CHECK(relative_distance(states.values[0], goldens.rome(index, "w_k_bare")) <
          tolerance::kGoldenKey);

    const Value value = optimise_value(model, rows, states, 5, {});
    const at::Tensor losses = goldens.rome(index, "losses");
    CHECK(value.losses[0][0].item<double>() ==
          Approx(losses[0][0].item<double>()).epsilon(tolerance::kGoldenFirstLoss));
    CHECK(value.losses[0][1].item<double>() ==
          Approx(losses[0][1].item<double>()).epsilon(tolerance::kGoldenFirstLoss));
    CHECK(value.losses.size(0) == losses.size(0));
    CHECK(relative_distance(value.value, goldens.rome(index, "v_star")) < tolerance::kGoldenValue);
  }
}
