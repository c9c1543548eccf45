// Which of a model's chat templates a conversation goes through, with which special tokens, and
// what the assistant spoke of it.

#include <cstdlib>
#include <ctime>

#include "core/error.h"
#include "formats/chat_templates.h"
#include "formats/config/from_gguf.h"
#include "formats/model_writer.h"
#include "formats/template/chat_format.h"
#include "formats/tokenizer/declared_tokens.h"
#include "tests/catch.h"
#include "tests/formats/scratch.h"
#include "tests/formats/tiny_llama.h"

namespace lancet {
namespace {

using Files = std::map<std::string, std::string>;

Json said(const std::vector<std::pair<std::string, std::string>>& turns) {
  Json out = Json::array();
  for (const auto& [role, content] : turns) out.push_back({{"role", role}, {"content", content}});
  return out;
}

const Json kTools = Json::array({Json{{"type", "function"}}});

std::string input_error(const std::function<void()>& call) {
  try {
    call();
  } catch (const Error& error) {
    CHECK(error.kind() == ErrorKind::kInput);
    return error.message();
  }
  return "accepted";
}

/// The tiny model as a directory with these files.
void write_directory(const fs::path& directory, const Files& files) {
  fs::create_directories(directory / kTemplateFolder);
  save_safetensors(directory / "model.safetensors", tiny::tensors(), {});
  auto all = tiny::side_files();
  all.erase("chat_template.jinja");
  for (const auto& [name, text] : files) all.insert_or_assign(name, text);
  for (const auto& [name, text] : all) write_file(directory / name, text);
}

Json declared_by(const Files& files, const std::string& type = "") {
  return special_tokens(read_declared_tokens(files), type);
}

/// The text of every turn that counts.
std::vector<std::string> spoken(const std::string& source, const Json& conversation) {
  const ChatFormat format(source, Json::object());
  const Rendered rendered = format.render_turns(conversation, 0);
  std::vector<std::string> out;
  for (const auto& [begin, end] : rendered.spans)
    out.push_back(rendered.text.substr(begin, end - begin));
  return out;
}

}  // namespace

TEST_CASE("chat templates: a list, an object, files and their order are transformers'") {
  const std::string list =
      R"({"chat_template":[{"name":"default","template":"D"},{"name":"tool_use","template":"T"}]})";
  const ChatTemplates both{{"default", "D"}, {"tool_use", "T"}};
  CHECK(chat_templates(Files{{"tokenizer_config.json", list}}) == both);
  CHECK(chat_templates(Files{{"tokenizer_config.json",
                              R"({"chat_template":{"default":"D","tool_use":"T"}})"}}) == both);
  CHECK(chat_templates(Files{{"chat_template.jinja", "D"},
                             {"additional_chat_templates/tool_use.jinja", "T"}}) == both);
  CHECK(chat_templates(Files{{"tokenizer_config.json", list}, {"chat_template.jinja", "J"}}) ==
        ChatTemplates{{"default", "J"}});
  CHECK(chat_templates(Files{{"tokenizer_config.json", "[]"}}).empty());
}

TEST_CASE("chat templates: names that are no plain file names are none") {
  CHECK(template_name("additional_chat_templates/tool_use.jinja") == "tool_use");
  const std::vector<std::string> bad{"../x", "a/b",      ".hidden",           "", "a b", "-x",
                                     "a\n",  "\xC3\xA9", std::string(65, 'a')};
  for (const std::string& name : bad) {
    INFO(name);
    CHECK_FALSE(template_name("additional_chat_templates/" + name + ".jinja"));
    CHECK_FALSE(template_file(name));
  }
  CHECK_FALSE(template_name("additional_chat_templates.jinja"));
  CHECK_FALSE(template_name("tool_use.jinja"));
  CHECK(template_file("default") == "chat_template.jinja");
}

TEST_CASE(
    "chat templates: links out of the folder, large files and other names stay where they are") {
  const Scratch scratch;
  write_file(scratch / "secret.jinja", "secret");
  fs::create_directories(scratch / "m/additional_chat_templates");
  const fs::path folder = scratch / "m/additional_chat_templates";
  write_file(folder / "tool_use.jinja", "T");
  write_file(folder / "no.txt", "x");
  write_file(folder / "two words.jinja", "x");
  write_file(folder / "large.jinja", std::string((1U << 20U) + 1, 'x'));
  CHECK(read_template_folder(scratch / "m") ==
        Files{{"additional_chat_templates/tool_use.jinja", "T"}});
  // A hub cache keeps its files behind links.
  const fs::path snapshot = scratch / "hub/snapshots/1";
  fs::create_directories(snapshot / kTemplateFolder);
  fs::create_directories(scratch / "hub/blobs");
  write_file(scratch / "hub/blobs/hash", "B");
  fs::create_symlink("../../../blobs/hash", snapshot / kTemplateFolder / "rag.jinja");
  CHECK(read_template_folder(snapshot) == Files{{"additional_chat_templates/rag.jinja", "B"}});
  fs::create_symlink(scratch / "secret.jinja", folder / "rag.jinja");
  CHECK_THROWS_AS(read_template_folder(scratch / "m"), Error);
  fs::create_directories(scratch / "n");
  fs::create_directory_symlink(folder, scratch / "n/additional_chat_templates");
  CHECK(read_template_folder(scratch / "n").empty());
}

TEST_CASE("chat templates: all of them travel to a directory and through GGUF") {
  const Scratch scratch;
  const ChatTemplates all{{"default", "D"}, {"rag", "R"}, {"tool_use", "T"}};
  write_directory(scratch / "a", {{"chat_template.jinja", "D"},
                                  {"additional_chat_templates/rag.jinja", "R"},
                                  {"additional_chat_templates/tool_use.jinja", "T"}});
  const auto copy = [&](const std::string& from, const std::string& to) {
    const ModelSource source = ModelSource::open(scratch / from);
    std::vector<OutputTensor> tensors;
    for (const TensorInfo& tensor : source.tensors())
      tensors.push_back(copy_tensor(source, tensor, std::nullopt));
    return write_model(scratch / to, std::move(tensors), source.side_files(), {.force = true});
  };
  for (const std::string to : {"b", "b", "c.gguf"}) {  // the second time over the first
    const auto files = copy("a", to);
    CHECK(chat_templates(ModelSource::open(scratch / to)) == all);
    for (const WrittenFile& file : files) CHECK(fs::exists(file.path));
  }
  const Json manifest = read_json(scratch / "b/lancet.json");
  CHECK(dump_json(manifest).find("\"additional_chat_templates/tool_use.jinja\"") !=
        std::string::npos);
  const auto gguf = Checkpoint::open(scratch / "c.gguf");
  CHECK(*gguf->gguf()->strings("tokenizer.chat_templates") ==
        std::vector<std::string>{"rag", "tool_use"});
  copy("c.gguf", "d");
  CHECK(read_file(scratch / "d/additional_chat_templates/tool_use.jinja") == "T");
  CHECK(read_file(scratch / "d/chat_template.jinja") == "D");
}

TEST_CASE("chat templates: a name in a GGUF never becomes a path") {
  GgufHeader header;
  const auto text = [](std::string value) {
    return GgufValue{GgufType::kString, GgufType::kString, std::move(value)};
  };
  header.metadata = {{"tokenizer.chat_template", text("D")},
                     {"tokenizer.chat_template.../../x", text("evil")},
                     {"tokenizer.chat_template.tool_use", text("T")}};
  const auto files = side_files_from_gguf(header, tiny::config());
  CHECK(files.size() == 3);
  CHECK(files.contains("additional_chat_templates/tool_use.jinja"));
}

TEST_CASE("chat format: a conversation with tools goes through tool_use") {
  const ChatFormat format(
      ChatTemplates{{"default", "D"}, {"tool_use", "T{{ tools | length }}"}, {"rag", "R"}},
      Json::object());
  const Json messages = said({{"user", "hi"}});
  CHECK(format.render(messages, false, 0).text == "D");
  CHECK(format.render({{"messages", messages}, {"tools", nullptr}}, false, 0).text == "D");
  CHECK(format.render({{"messages", messages}, {"tools", kTools}}, false, 0).text == "T1");
  CHECK(format.render({{"messages", messages}, {"tools", Json::array()}}, false, 0).text == "T0");
  const ChatFormat alone(ChatTemplates{{"tool_use", "T"}}, Json::object());
  CHECK(alone.render({{"messages", messages}, {"tools", kTools}}, false, 0).text == "T");
  CHECK_THAT(input_error([&] { (void)alone.render(messages, false, 0); }),
             Catch::Contains("'default'") && Catch::Contains("'tool_use'"));
  const ChatFormat broken(ChatTemplates{{"default", "D"}, {"tool_use", "{% include 'x' %}"}},
                          Json::object());
  CHECK(broken.render(messages, false, 0).text == "D");
  CHECK(input_error([&] {
          (void)broken.render({{"messages", messages}, {"tools", kTools}}, false, 0);
        }) != "accepted");
}

TEST_CASE("chat format: empty conversations, and tools that are no list of objects, are refused") {
  const ChatFormat format("x", Json::object());
  CHECK_THAT(input_error([&] { (void)format.render(Json::array(), false, 0); }),
             Catch::Contains("at least one message"));
  const Json messages = said({{"user", "hi"}});
  for (const char* tools : {"{}", R"("[]")", "[1]", "true"}) {
    INFO(tools);
    CHECK_THAT(
        input_error([&] {
          (void)format.render({{"messages", messages}, {"tools", Json::parse(tools)}}, false, 0);
        }),
        Catch::Contains("tools: expected an array of objects"));
  }
}

TEST_CASE("chat format: what a conversation brings along stands before special tokens") {
  const ChatFormat format("{{ bos_token }}{{ eos_token }}",
                          {{"bos_token", "<s>"}, {"eos_token", "</s>"}});
  CHECK(format.render({{"messages", said({{"user", "hi"}})}, {"bos_token", "B"}}, false, 0).text ==
        "B</s>");
}

TEST_CASE(
    "special tokens: every role of the files is one, and those of the class where they are "
    "silent") {
  CHECK(declared_by({{"tokenizer_config.json",
                      R"({"tokenizer_class":"PreTrainedTokenizerFast","bos_token":"<b>",
      "sep_token":{"content":"<p>"},"eos_token":null,"image_token":"<i>","add_bos_token":true,
      "extra_special_tokens":{"boi_token":"<o>"}})"}}) == Json({{"bos_token", "<b>"},
                                                                {"sep_token", "<p>"},
                                                                {"image_token", "<i>"},
                                                                {"boi_token", "<o>"}}));
  const std::string map = R"({"bos_token":"<m>","mask_token":{"content":"<k>","lstrip":true}})";
  const std::string config = R"({"tokenizer_class":"LlamaTokenizerFast","bos_token":"<b>")";
  CHECK(declared_by({{"tokenizer_config.json", config + "}"}, {"special_tokens_map.json", map}}) ==
        Json({{"bos_token", "<m>"},
              {"eos_token", "</s>"},
              {"unk_token", "<unk>"},
              {"mask_token", "<k>"}}));
  CHECK(declared_by({{"tokenizer_config.json", config + R"(,"added_tokens_decoder":{}})"},
                     {"special_tokens_map.json", map}}) ==
        Json({{"bos_token", "<b>"}, {"eos_token", "</s>"}, {"unk_token", "<unk>"}}));
  // The class of the architecture where none is named; some architectures have none of their own.
  CHECK(declared_by({}, "gpt2")["bos_token"] == "<|endoftext|>");
  CHECK(declared_by({{"tokenizer_config.json", config + "}"}}, "mistral") ==
        Json({{"bos_token", "<b>"}}));
  CHECK(declared_by({}).empty());
}

TEST_CASE(
    "chat format: a first assistant turn begins where its content does, never inside a header") {
  const std::string plain =
      "{% for m in messages %}<|{{ m.role }}|>{{ m.content }}\n{% endfor %}"
      "{% if add_generation_prompt %}<|assistant|>{% endif %}";
  const Json first = said({{"assistant", "assistant"}, {"user", "more"}, {"assistant", "three"}});
  CHECK(spoken(plain, first) == std::vector<std::string>{"assistant\n", "three\n"});
  const std::string system =
      "{% if messages[0].role != 'system' %}<|system|>You are a helpful assistant.\n{% endif %}" +
      plain;
  CHECK(spoken(system, said({{"assistant", "You are"}, {"user", "u"}})) ==
        std::vector<std::string>{"You are\n"});
  CHECK(spoken(system, said({{"assistant", " a "}})) == std::vector<std::string>{" a \n"});
  // A template that writes something else than the content there tells nothing.
  const std::string upper = "{% for m in messages %}{{ m.content | upper }}{% endfor %}";
  CHECK(input_error([&] { (void)spoken(upper, said({{"assistant", "yes"}})); }) != "accepted");
}

TEST_CASE("chat format: the date is that of the machine's time zone") {
  const char* before = std::getenv("TZ");
  const std::string zone = before == nullptr ? "" : before;
  ::setenv("TZ", "XYZ-9", 1);  // nine hours before UTC's clock
  ::tzset();
  const ChatFormat format("{{ strftime_now('%d %H:%M') }}", Json::object());
  CHECK(format.render(said({{"user", "u"}}), false, 20 * 3600).text == "02 05:00");
  before == nullptr ? ::unsetenv("TZ") : ::setenv("TZ", zone.c_str(), 1);
  ::tzset();
}

}  // namespace lancet
