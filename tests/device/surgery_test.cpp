// What changes and reads a model, on the way of a GPU: the CPU's answers.

#include "formats/model_source.h"
#include "surgery/editor.h"
#include "surgery/locate/trace.h"
#include "tests/catch.h"
#include "tests/device/rehearsal.h"
#include "tests/model/tiny.h"
#include "tests/surgery/locate/tiny_locate.h"

using namespace lancet;
using namespace lancet::test;

namespace {

/// Float32 in another order through a dozen steps of a search: relative to the change.
constexpr double kSameEdit = 2e-3;
/// Of a probability.
constexpr double kSameProbability = 1e-5;

/// One tiny model here, there, and over two devices there.
struct Places {
  Scratch scratch;
  ModelSource source;
  Tokenizer tokenizer;

  explicit Places(std::uint64_t seed)
      : source(open(scratch, seed)), tokenizer(Tokenizer::open(source)) {}
  static ModelSource open(const Scratch& scratch, std::uint64_t seed) {
    tiny_edit::save(scratch / "m", tiny_edit::weights(seed));
    return ModelSource::open(scratch / "m");
  }
  [[nodiscard]] Decoder here() const { return Decoder::load(source); }
  [[nodiscard]] Decoder there(bool split) const {
    LoadOptions options{.dtype = at::kFloat, .device = rehearsal_device()};
    std::uint64_t bytes = 0;
    for (const TensorInfo& tensor : source.tensors()) bytes += tensor.elements() * 4 + 64;
    if (split) options.rooms = {{rehearsal_device(0), bytes / 2}, {rehearsal_device(1), bytes}};
    return Decoder::load(source, options);
  }
};

at::Tensor covariance(std::int64_t layer) {
  at::manual_seed(static_cast<std::uint64_t>(layer) + 1);
  const at::Tensor a = at::randn({tiny_edit::kFf, 2 * tiny_edit::kFf}, at::kDouble);
  return at::matmul(a, a.t()) / (2 * tiny_edit::kFf);
}

/// The change of each matrix, by its name.
std::map<std::string, at::Tensor> changes(const Places& places, const Decoder& model,
                                          const Editor& editor) {
  std::vector<Fact> facts;
  facts.push_back({.id = "1", .subject = "ab", .prompt = "the {} c", .target = "the"});
  if (editor.max_facts != 1)
    facts.push_back({.id = "2", .subject = "b", .prompt = "{} a c", .target = "the a b"});
  std::map<std::string, std::string> options;
  for (const WordParameter& word : editor.words) {
    if (word.name == "contexts") options["contexts"] = (places.scratch / "contexts.txt").string();
  }
  for (const Parameter& number : editor.numbers) {
    if (number.name == "steps") options["steps"] = "8";
    if (number.name == "threshold") options["threshold"] = "0.4";  // of the covariances below
  }
  const Parameters parameters(editor.numbers, editor.words, options);
  // Behind the last layer a subject in the middle moves nothing: a search would follow rounding.
  const std::vector<std::int64_t> layers =
      editor.reach == Reach::kRange ? std::vector<std::int64_t>{0, 1}
      : editor.reach == Reach::kAll ? std::vector<std::int64_t>{0, 1, 2}
                                    : std::vector<std::int64_t>{1};
  const EditPlan plan =
      editor.plan({model, places.tokenizer, facts, layers, covariance, parameters, 0, 0});
  std::map<std::string, at::Tensor> out;
  for (const Factors& each : plan.factors) {
    const at::Tensor change = at::matmul(each.left.cpu(), each.right.cpu().t());
    at::Tensor& sum = out[each.tensor];
    sum = sum.defined() ? sum + change : change;
  }
  return out;
}

}  // namespace

TEST_CASE("device: every editor writes there what it writes on the CPU") {
  const Places places(7);
  write_file(places.scratch / "contexts.txt", "{}\nthe a {}\nb c a {}\n");
  for (const Editor* editor : editor_registry()) {
    const auto wanted = changes(places, places.here(), *editor);
    for (const bool split : {false, true}) {
      const std::string error = error_of([&] {
        const auto found = changes(places, places.there(split), *editor);
        REQUIRE(found.size() == wanted.size());
        for (const auto& [tensor, change] : wanted) {
          INFO(editor->name << ", " << tensor);
          CHECK(relative(found.at(tensor), change) < kSameEdit);
        }
      });
      INFO(editor->name << (split ? ", split: " : ": ")
                        << error.substr(0, error.find("\nException raised")));
      CHECK(error.empty());
    }
  }
}

TEST_CASE("device: a trace has the CPU's cells there") {
  const Places places(11);
  const Decoder here = places.here();
  const TraceKind kinds[] = {TraceKind::kHidden, TraceKind::kMlp, TraceKind::kAttention,
                             TraceKind::kSeveredMlp};
  for (const Fact& fact : tiny_locate::facts()) {
    LocatePrompt prompt = read_prompt(places.tokenizer, fact, true);
    answer_by_model(here, places.tokenizer, prompt);
    const auto trace = [&](const Decoder& model) {
      const Runs runs = run_both(model, prompt, corrupted_embeddings(model, prompt, 3, 1.5, 5));
      return trace_states(model, prompt, runs, kinds, 2);
    };
    const Trace wanted = trace(here);
    for (const bool split : {false, true}) {
      const std::string error = error_of([&] {
        const Trace found = trace(places.there(split));
        for (std::size_t i = 0; i < wanted.maps.size(); ++i)
          CHECK(max_abs(found.maps[i].scores, wanted.maps[i].scores) < kSameProbability);
      });
      INFO(fact.prompt << (split ? ", split: " : ": ")
                       << error.substr(0, error.find("\nException raised")));
      CHECK(error.empty());
    }
  }
}
