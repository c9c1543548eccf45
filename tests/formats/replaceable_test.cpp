// What --force may remove, and what it may not.
#include "formats/replaceable.h"

#include <array>

#include "formats/adapter/peft_writer.h"
#include "formats/containers/safetensors.h"
#include "tests/catch.h"
#include "tests/core/scratch.h"
#include "tests/formats/scratch.h"

namespace lancet {
namespace {

using test::error_of;

constexpr std::array<std::byte, 4> kFourZeros{};

struct Folders {
  Scratch scratch;

  void make(const std::string& folder, const std::vector<std::string>& files) {
    fs::create_directories(scratch / folder);
    for (const std::string& file : files) {
      fs::create_directories((scratch / folder / file).parent_path());
      write_file(scratch / folder / file, "x");
    }
  }

  std::string refusal(const std::string& folder, DirectoryKind kind = DirectoryKind::kModel) {
    try {
      check_replaceable(scratch / folder, kind);
    } catch (const Error& error) {
      CHECK(error.kind() == ErrorKind::kUsage);
      return error.message();
    }
    return "";
  }
};

const std::vector<std::string> kModelFiles{"config.json",
                                           "model-00001-of-00002.safetensors",
                                           "model.safetensors.index.json",
                                           "tokenizer.json",
                                           "README.md",
                                           "LICENSE",
                                           "modeling_x.py"};
const std::vector<std::string> kAdapterFiles{"adapter_config.json", "adapter_model.safetensors",
                                             "README.md", "tokenizer.json"};

}  // namespace

TEST_CASE_METHOD(Folders, "replaceable: a folder with anything but the model's files is kept") {
  make("model", kModelFiles);
  CHECK(refusal("model").empty());
  CHECK(refusal("nothing").empty());
  make("empty", {});
  CHECK(refusal("empty").empty());
  for (const std::string strange : {"thesis.txt", "keepme/notes.txt", "runs.json", ".git/HEAD",
                                    "stats.safetensors", "adapter_config.json"}) {
    INFO(strange);
    fs::remove_all(scratch / "model");
    make("model", kModelFiles);
    make("model", {strange});
    const std::string first = *fs::path(strange).begin();
    CHECK_THAT(refusal("model"), Catch::Contains("'" + first + "', which is no part of a model"));
  }
  // Nor one that only has something of a model: an application's config.json.
  make("app", {"config.json", "README.md"});
  CHECK_THAT(refusal("app"), Catch::Contains("holds no model"));
}

TEST_CASE_METHOD(Folders, "replaceable: a folder of chat templates goes with the model") {
  make("model", kModelFiles);
  make("model", {"additional_chat_templates/tool_use.jinja"});
  CHECK(refusal("model").empty());
  make("model", {"additional_chat_templates/thesis.txt"});
  CHECK_THAT(refusal("model"), Catch::Contains("'additional_chat_templates', which is no part"));
}

TEST_CASE_METHOD(Folders, "replaceable: what lancet.json lists goes with the model") {
  make("edited", kModelFiles);
  make("edited", {"lancet.undo.safetensors"});
  CHECK_FALSE(refusal("edited").empty());
  write_file(scratch / "edited/lancet.json",
             R"({"outputs": [{"file": "lancet.undo.safetensors", "bytes": 1, "sha256": ""}]})");
  CHECK(refusal("edited").empty());
  write_file(scratch / "edited/lancet.json", "torn");
  CHECK_FALSE(refusal("edited").empty());
}

TEST_CASE_METHOD(Folders, "replaceable: an adapter replaces an adapter, and no model or papers") {
  make("adapter", kAdapterFiles);
  CHECK(refusal("adapter", DirectoryKind::kAdapter).empty());
  CHECK_THAT(refusal("adapter"), Catch::Contains("holds no model"));
  make("model", kModelFiles);
  CHECK_THAT(refusal("model", DirectoryKind::kAdapter), Catch::Contains("holds no adapter"));
  make("adapter", {"checkpoints/1/adapter_config.json"});
  CHECK_THAT(refusal("adapter", DirectoryKind::kAdapter), Catch::Contains("'checkpoints'"));
  make("papers", {"thesis.txt"});
  const auto save = [&](const std::string& folder) {
    AdapterFile file;
    file.modules.push_back({"model.q", LoraModule::Kind::kLinear, 1, 1, 1, {1.0F}, {1.0F}, {}});
    save_adapter(scratch / folder, std::move(file), true);
  };
  for (const std::string folder : {"papers", "model", "adapter"})
    CHECK_THROWS_AS(save(folder), Error);
  CHECK(read_file(scratch / "papers/thesis.txt") == "x");
  fs::remove_all(scratch / "adapter/checkpoints");
  CHECK_NOTHROW(save("adapter"));
}

TEST_CASE_METHOD(Folders, "replaceable: an output that is an input, or holds one, is refused") {
  make("model", kModelFiles);
  make("adapter", kAdapterFiles);
  fs::create_directory_symlink(scratch / "model", scratch / "link");
  const auto refused = [&](const fs::path& out, const fs::path& input) {
    try {
      check_not_input("merge", out, {scratch / "other", input});
    } catch (const Error& error) {
      CHECK(error.kind() == ErrorKind::kUsage);
      return true;
    }
    return false;
  };
  CHECK(refused(scratch / "model", scratch / "model/"));
  CHECK(refused(scratch / "model", scratch / "link"));
  CHECK(refused(scratch / "link", scratch / "model"));
  CHECK(refused(scratch / "model", scratch / "model/model.safetensors.index.json"));
  CHECK(refused(scratch / "adapter",
                (scratch / "model").string() + "+" + (scratch / "adapter").string()));
  make("linked", {"config.json"});
  fs::create_symlink("../model/model-00001-of-00002.safetensors",
                     scratch / "linked/model.safetensors");
  CHECK(refused(scratch / "model", scratch / "linked"));
  CHECK_FALSE(refused(scratch / "linked/model.safetensors", scratch / "other"));
  CHECK_FALSE(refused(scratch / "model/inside", scratch / "model"));
  CHECK_FALSE(refused(scratch / "mode", scratch / "model"));
}

TEST_CASE_METHOD(Folders, "replaceable: a file that is read with an input is refused") {
  const auto refused = [&](const fs::path& out, const fs::path& input) {
    const auto error = error_of([&] { check_not_input("diff", scratch / out, {scratch / input}); });
    if (error) CHECK(error->kind() == ErrorKind::kUsage);
    return error.has_value();
  };
  fs::create_directories(scratch / "model");
  std::vector<OutputTensor> one;
  one.push_back({"w", DType::kF32, {1}, [](const auto& emit) { emit(Bytes(kFourZeros)); }});
  save_safetensors(scratch / "model/model.safetensors", std::move(one), {});
  make("model", {"config.json", "tokenizer.json", "lancet.undo.safetensors", "report.html"});
  write_file(scratch / "model/lancet.json",
             R"({"outputs": [{"file": "lancet.undo.safetensors", "bytes": 1, "sha256": ""}]})");
  fs::create_directory_symlink(scratch / "model", scratch / "link");
  for (const char* name : {"model.safetensors", "config.json", "tokenizer.json",
                           "lancet.undo.safetensors", "lancet.json"}) {
    INFO(name);
    CHECK(refused(fs::path("model") / name, "model"));
    CHECK(refused(fs::path("link") / name, "model"));
    CHECK(refused(fs::path("model") / name, "link"));
  }
  CHECK(refused("model/config.json", "model/model.safetensors"));
  CHECK_FALSE(refused("model/report.html", "model"));
  CHECK_FALSE(refused("model/report.html", "model/model.safetensors"));
  CHECK_FALSE(refused("model/new.safetensors", "model"));
  make("texts", {"a.txt", "deep/b.txt"});
  CHECK(refused("texts/a.txt", "texts"));
  CHECK(refused("texts/deep/b.txt", "texts"));
  CHECK_FALSE(refused("texts/a.txt", "texts/deep"));
  CHECK_FALSE(refused("texts/a.txt", "texts/deep/b.txt"));
}

TEST_CASE_METHOD(Folders, "replaceable: a file takes the place of no directory or link to one") {
  make("model", kModelFiles);
  make("one.safetensors", {"x"});
  fs::create_directory_symlink(scratch / "model", scratch / "link");
  write_file(scratch / "old.html", "x");
  const auto kind_of = [&](const std::string& out, OutputKind kind, Replace replace) {
    const auto error = error_of([&] { check_place("diff", scratch / out, kind, {}, replace); });
    return error ? std::optional(error->kind()) : std::nullopt;
  };
  for (const Replace replace : {Replace::kNo, Replace::kPlanned, Replace::kForced}) {
    for (const char* out : {"model", "link"})
      CHECK(kind_of(out, OutputKind::kFile, replace) == ErrorKind::kUsage);
    CHECK(kind_of("one.safetensors", OutputKind::kModel, replace) == ErrorKind::kUsage);
    CHECK(kind_of("new", OutputKind::kModel, replace) == std::nullopt);
  }
  CHECK(kind_of("old.html", OutputKind::kFile, Replace::kNo) == ErrorKind::kUsage);
  CHECK(kind_of("old.html", OutputKind::kFile, Replace::kPlanned) == std::nullopt);
  CHECK(kind_of("old.html", OutputKind::kFile, Replace::kForced) == std::nullopt);
  CHECK(kind_of("link", OutputKind::kModel, Replace::kForced) == std::nullopt);
  CHECK(error_of([&] { check_folder("train", scratch / "old.html"); })->kind() ==
        ErrorKind::kUsage);
  CHECK_NOTHROW(check_folder("train", scratch / "link"));
  CHECK_NOTHROW(check_folder("train", scratch / "new"));
  CHECK(error_of([&] { AtomicFile file(scratch / "link"); })->kind() == ErrorKind::kUsage);
}

}  // namespace lancet
