// What command line and headers tell about an edit, for a run and for --plan alike.
#include "surgery/edit_checks.h"

#include "core/error.h"
#include "core/hash.h"
#include "core/outputs.h"
#include "formats/containers/safetensors.h"
#include "surgery/edit.h"
#include "surgery/files/facts.h"
#include "tests/catch.h"
#include "tests/surgery/tiny_edit.h"

using namespace lancet;

namespace {

Fact fact(const std::string& id, const std::string& prompt, const std::string& subject) {
  Fact out;
  out.id = id;
  out.prompt = prompt;
  out.subject = subject;
  out.target = "the";
  return out;
}

/// A plan of one fact that nothing stands against.
EditRequest plan_of(const Scratch& scratch) {
  if (!fs::exists(scratch / "m")) tiny_edit::save(scratch / "m", tiny_edit::weights(21));
  EditRequest request;
  request.model = scratch / "m";
  request.facts = {fact("a", "the {} c", "ab")};
  request.layers = "1";
  request.covariance = "none";
  request.plan = true;
  return request;
}

ErrorKind kind_of(const EditRequest& request) {
  try {
    (void)plan_edit(request, {});
  } catch (const Error& error) {
    return error.kind();
  }
  return ErrorKind::kInternal;
}

/// Second moments of layers, as `covariance` writes them.
void save_moments_of(const fs::path& path, const std::vector<std::int64_t>& layers) {
  std::vector<double> values(tiny_edit::kFf * tiny_edit::kFf, 0);
  for (std::int64_t i = 0; i < tiny_edit::kFf; ++i)
    values[static_cast<std::size_t>(i * (tiny_edit::kFf + 1))] = 1;
  std::vector<OutputTensor> tensors;
  for (const std::int64_t layer : layers) {
    tensors.push_back({"model.layers." + std::to_string(layer) + ".mlp.down_proj.second_moment",
                       DType::kF64,
                       {tiny_edit::kFf, tiny_edit::kFf},
                       [values](const std::function<void(Bytes)>& emit) {
                         emit(std::as_bytes(std::span(values)));
                       }});
  }
  (void)save_safetensors(path, std::move(tensors), {{"tokens", "1000"}});
}

}  // namespace

TEST_CASE("outputs: two at one place are refused, however it is spelt") {
  const Scratch scratch;
  fs::create_directory(scratch / "real");
  fs::create_directory_symlink(scratch / "real", scratch / "link");
  CHECK_THROWS_WITH(
      check_apart("edit", {{"-o", scratch / "a"}, {"--dump", scratch / "real" / ".." / "a/"}}),
      Catch::Contains("-o and --dump"));
  CHECK_THROWS_AS(
      check_apart("edit", {{"-o", scratch / "real" / "a"}, {"--lora", scratch / "link" / "a"}}),
      Error);
  CHECK_NOTHROW(check_apart("edit", {{"-o", ""}, {"--lora", ""}, {"--dump", scratch / "a"}}));
}

TEST_CASE("edit: a plan refuses layers of experts but for the editor that writes them") {
  const Scratch scratch;
  tiny_edit::save(scratch / "m", tiny_edit::weights(21, true));
  EditRequest request = plan_of(scratch);
  for (const char* layers : {"1", "auto"}) {
    request.layers = layers;
    for (const Editor* editor : editor_registry()) {
      INFO(editor->name << ", layers " << layers);
      if (editor->needs_covariance) continue;
      request.method = editor->name;
      if (editor->experts) {
        CHECK_NOTHROW(plan_edit(request, {}));
        continue;
      }
      CHECK_THROWS_WITH(plan_edit(request, {}), Catch::Contains("expected layers with one MLP"));
      CHECK(kind_of(request) == ErrorKind::kMismatch);
    }
  }
}

TEST_CASE("edit: a plan refuses what the run would refuse") {
  const Scratch scratch;
  const EditRequest good = plan_of(scratch);
  CHECK_NOTHROW(plan_edit(good, {}));
  const auto with = [&](const std::function<void(EditRequest&)>& change) {
    EditRequest request = good;
    change(request);
    return kind_of(request);
  };
  CHECK(with([](EditRequest& r) { r.layers = "0-1"; }) == ErrorKind::kUsage);
  CHECK(with([](EditRequest& r) {
          r.method = "emmet";
          r.layers = "0-1";
        }) == ErrorKind::kUsage);
  CHECK(with([](EditRequest& r) { r.method = "alphaedit"; }) == ErrorKind::kUsage);
  CHECK(with([&](EditRequest& r) { r.covariance = scratch / "none.npz"; }) == ErrorKind::kInput);
  save_moments_of(scratch / "several", {0, 2});
  save_moments_of(scratch / "single", {2});
  save_moments_of(scratch / "right", {1});
  CHECK(with([&](EditRequest& r) { r.covariance = scratch / "several"; }) == ErrorKind::kMismatch);
  CHECK(with([&](EditRequest& r) { r.covariance = scratch / "single"; }) == ErrorKind::kMismatch);
  CHECK(with([&](EditRequest& r) { r.covariance = scratch / "right"; }) == ErrorKind::kInternal);
  write_file(scratch / "bare.txt", "no slot\n");
  CHECK(with([&](EditRequest& r) { r.method_options["contexts"] = scratch / "bare.txt"; }) ==
        ErrorKind::kUsage);
  CHECK(with([&](EditRequest& r) { r.method_options["contexts"] = scratch / "none.txt"; }) ==
        ErrorKind::kInput);
  CHECK(with([&](EditRequest& r) { r.report = scratch / "bare.txt"; }) == ErrorKind::kUsage);
  write_file(scratch / "fine.txt", "So: {}\n");
  CHECK(with([&](EditRequest& r) { r.method_options["contexts"] = scratch / "fine.txt"; }) ==
        ErrorKind::kInternal);
  CHECK(with([&](EditRequest& r) { r.delta = r.dump = scratch / "x"; }) == ErrorKind::kUsage);
}

TEST_CASE("edit: a plan refuses parameters that do not go together") {
  const Scratch scratch;
  const auto refuses = [&](const std::string& method, std::map<std::string, std::string> options) {
    EditRequest request = plan_of(scratch);
    request.method = method;
    request.method_options = std::move(options);
    return kind_of(request) == ErrorKind::kUsage;
  };
  write_file(scratch / "fine.txt", "So: {}\n");
  const std::string file = scratch / "fine.txt";
  for (const char* method : {"rome", "memit", "emmet"}) {
    INFO(method);
    CHECK_FALSE(refuses(method, {{"contexts", file}}));
    CHECK_FALSE(refuses(method, {{"contexts", "auto"}, {"context_count", "3"}}));
    CHECK(refuses(method, {{"contexts", file}, {"context_count", "3"}}));
  }
  CHECK(refuses("ft", {{"objective", "last"}, {"end", "1"}}));
  CHECK_FALSE(refuses("ft", {{"objective", "last"}}));
  CHECK(refuses("ultraedit", {{"lr", "1e-6"}, {"size", "0.5"}}));
  CHECK_FALSE(refuses("ultraedit", {{"lr", "auto"}, {"size", "0.5"}}));
  CHECK_FALSE(refuses("ultraedit", {{"lr", "1e-6"}}));
}

TEST_CASE("edit: a fact whose subject shares a token goes by line, the others are planned") {
  const Scratch scratch;
  EditRequest request = plan_of(scratch);
  request.facts = {fact("a", "{}b c", "a"), fact("b", "the {} c", "ab")};  // "ab" is one token
  CHECK_THROWS_WITH(plan_edit(request, {}), Catch::Contains("key 'subject'"));
  request.requests = "facts.jsonl";
  request.lines = {3, 7};
  const PreparedEdit prepared = prepare_edit(request);
  REQUIRE(prepared.request.facts.size() == 1);
  CHECK(prepared.request.facts[0].id == "b");
  CHECK(prepared.request.lines == std::vector<std::size_t>{7});
  CHECK(prepared.editor.name == "rome");  // as for a file of one fact
  request.facts.pop_back();
  request.lines.pop_back();
  CHECK(kind_of(request) == ErrorKind::kInput);
  request.method = "ft";  // looks for no subject
  CHECK(plan_edit(request, {})["edits"][0]["subject_last"].is_null());
}

TEST_CASE("edit: a fact longer than the model's context is refused before weights are read") {
  const Scratch scratch;
  EditRequest request = plan_of(scratch);
  const std::int64_t most =
      describe_decoder(ModelSource::open(request.model).config()).max_positions;
  std::string prompt = "the {} c";
  for (std::int64_t i = 0; i < most; ++i) prompt += " a";
  request.facts.push_back(fact("b", prompt, "ab"));
  request.covariance = "auto";
  for (const char* method : {"memit", "ft"}) {
    request.method = method;
    CHECK_THROWS_WITH(prepare_edit(request), Catch::Contains("the length of this model"));
  }
  request.requests = "facts.jsonl";
  request.lines = {1, 2};
  CHECK(prepare_edit(request).request.facts.size() == 1);
}

TEST_CASE("edit: every file that was written is told with its size and hash") {
  const Scratch scratch;
  EditRequest request = plan_of(scratch);
  request.plan = false;
  request.guards = false;  // a random model does not learn the fact
  request.method_options = {{"steps", "2"}, {"context_count", "0"}};
  request.out = scratch / "out";
  request.delta = scratch / "out" / "more" / "d.safetensors";
  request.lora = scratch / "lora";
  request.dump = scratch / "dump";
  request.report = scratch / "report.html";
  Json result;
  try {
    result = run_edit(request, {}, result);
  } catch (const Error& error) {
    REQUIRE(error.kind() == ErrorKind::kGoal);
  }
  std::set<fs::path> told;
  for (const Json& output : result["outputs"]) {
    const fs::path path = output["path"].get<std::string>();
    CAPTURE(path);
    CHECK(output["bytes"] == fs::file_size(path));
    CHECK(output["sha256"] == sha256_file(path));
    told.insert(path);
  }
  for (const fs::path& path :
       {*request.delta, *request.dump, *request.report,
        scratch / "lora" / "adapter_model.safetensors", scratch / "out" / "model.safetensors"})
    CHECK(told.contains(path));
}
