// Chat templates against what transformers makes of them (tests/oracle/make_template_goldens.py),
// and the bounds that hold for hostile ones.

#include <algorithm>
#include <cstdlib>
#include <ctime>
#include <string>
#include <thread>
#include <vector>

#include "tests/catch.h"
#include "tests/time_limit.h"

#include "core/error.h"
#include "core/file.h"
#include "core/hash.h"
#include "core/json.h"
#include "formats/template/chat_template.h"

using namespace lancet;

namespace {

constexpr std::int64_t kNow = 1753351205;  // 2025-07-24 10:00:05 UTC, as in the goldens

fs::path template_data(const std::string& name) {
  const char* set = std::getenv("LANCET_TEST_DATA");
  return fs::path(set != nullptr ? set : LANCET_TEST_DATA) / "templates" / name;
}

/// The zone of the goldens, whatever the machine's is.
const bool kInUtc = [] {
  ::setenv("TZ", "UTC", 1);
  ::tzset();
  return true;
}();

std::string render(const std::string& source, const Json& context = Json::object()) {
  return ChatTemplate(source).render(context, kNow).text;
}

struct Outcome {
  Rendered rendered;
  std::string error;  ///< empty when it rendered
  ErrorKind kind = ErrorKind::kInternal;
};

Outcome outcome(const std::string& source, const Json& context, TemplateLimits limits = {}) {
  Outcome out;
  try {
    out.rendered = ChatTemplate(source, limits).render(context, kNow);
  } catch (const Error& error) {
    out.error = error.what();
    out.kind = error.kind();
  }
  return out;
}

/// "" when the outcome is the golden result, else what differs.
std::string difference(const Outcome& found, const Json& golden) {
  if (golden.contains("error")) {
    if (found.error.empty())
      return "rendered, the reference says " + golden["error"].get<std::string>();
    return found.kind == ErrorKind::kInput ? "" : "error of another kind: " + found.error;
  }
  if (!found.error.empty()) return found.error;
  const std::string& text = found.rendered.text;
  if (golden.contains("text") && text != golden["text"].get<std::string>()) {
    return "text: " + text + "\nwanted: " + golden["text"].get<std::string>();
  }
  if (golden.contains("sha256") && sha256_hex(text) != golden["sha256"].get<std::string>()) {
    return "another text of " + std::to_string(text.size()) + " bytes, wanted " +
           golden["bytes"].dump();
  }
  const Json spans = found.rendered.spans;
  const Json wanted = golden.contains("spans") ? golden["spans"] : Json::array();
  return spans == wanted ? "" : "spans " + spans.dump() + ", wanted " + wanted.dump();
}

constexpr double kSeconds = 2 * kSanitizerFactor;  ///< of processor time

/// Runs `source`, requires an input error that contains `part`, in bounded processor time.
void check_refused(const std::string& source, const std::string& part,
                   const Json& context = Json::object()) {
  Outcome found;
  const double seconds = processor_seconds([&] { found = outcome(source, context); });
  INFO(source.substr(0, 200));
  INFO(found.error);
  CHECK_FALSE(found.error.empty());
  CHECK(found.kind == ErrorKind::kInput);
  CHECK(found.error.find(part) != std::string::npos);
  CHECK(seconds < kSeconds);
}

std::string repeat(const std::string& part, int count) {
  std::string out;
  for (int i = 0; i < count; ++i) out += part;
  return out;
}

}  // namespace

TEST_CASE(
    "chat template: at least 40 real templates render every conversation as transformers does") {
  const Json goldens = read_json(template_data("real.json"));
  REQUIRE(goldens["now"].get<std::int64_t>() == kNow);
  const Json& contexts = goldens["contexts"];
  REQUIRE(goldens["results"].size() >= 40);
  REQUIRE(contexts.size() >= 12);
  std::size_t rendered = 0;
  for (const auto& [name, results] : goldens["results"].items()) {
    const std::string source = read_file(template_data(name + ".jinja"));
    REQUIRE(results.size() == contexts.size());
    for (std::size_t i = 0; i < contexts.size(); ++i) {
      INFO(name << ", conversation " << i);
      const Outcome found = outcome(source, contexts[i]);
      CHECK(difference(found, results[i]) == "");
      if (found.error.empty()) ++rendered;
      if (results[i].contains("error") &&
          results[i]["error"].get<std::string>().starts_with("TemplateError: ")) {
        // raise_exception: its own message, with the line.
        const std::string message = results[i]["error"].get<std::string>().substr(15);
        CHECK(found.error.find("line ") != std::string::npos);
        CHECK(found.error.find(message.substr(0, message.find('\n'))) != std::string::npos);
      }
    }
  }
  CHECK(rendered > 600);
}

TEST_CASE("chat template: every small snippet means what it means in Jinja") {
  const Json goldens = read_json(template_data("micro.json"));
  REQUIRE(goldens["cases"].size() >= 150);
  for (const Json& golden : goldens["cases"]) {
    INFO(golden["t"].get<std::string>());
    CHECK(difference(outcome(golden["t"].get<std::string>(), golden["c"]), golden) == "");
  }
}

TEST_CASE(
    "chat template: generation spans are byte ranges, also through macros and recursive loops") {
  const Rendered plain =
      ChatTemplate("é{% generation %}ü{% endgeneration %}{% generation %}{% endgeneration %}")
          .render({}, 0);
  CHECK(plain.text == "éü");
  CHECK(plain.spans == std::vector<std::pair<std::uint64_t, std::uint64_t>>{{2, 4}, {4, 4}});
  const Rendered macro = ChatTemplate(
                             "ab{% macro m(x) %}<{% generation %}{{ x }}{% endgeneration %}>{% "
                             "endmacro %}{{ m('q') }}{{ m('rs') }}")
                             .render({}, 0);
  CHECK(macro.text == "ab<q><rs>");
  CHECK(macro.spans == std::vector<std::pair<std::uint64_t, std::uint64_t>>{{3, 4}, {6, 8}});
  const Rendered nested =
      ChatTemplate("{% generation %}a{% generation %}b{% endgeneration %}{% endgeneration %}")
          .render({}, 0);
  CHECK(nested.spans == std::vector<std::pair<std::uint64_t, std::uint64_t>>{{1, 2}, {0, 2}});
  const Rendered deep = ChatTemplate(
                            "{% for x in [[[]], []] recursive %}({% generation %}g{% endgeneration "
                            "%}{{ loop(x) }}){% endfor %}")
                            .render({}, 0);
  CHECK(deep.text == "(g(g))(g)");
  CHECK(deep.spans == std::vector<std::pair<std::uint64_t, std::uint64_t>>{{1, 2}, {3, 4}, {7, 8}});
}

TEST_CASE(
    "chat template: a span whose text was changed after it was written is an error, not a guess") {
  check_refused(
      "{% macro m() %}{% generation %}a{% endgeneration %}{% endmacro %}{{ m() | upper }}",
      "generation");
  check_refused("{% filter trim %}{% generation %} a {% endgeneration %}{% endfilter %}",
                "generation");
}

TEST_CASE("chat template: errors name the line they come from") {
  CHECK(outcome("a\nb\n{{ x.y }}", {}).error == "chat template: line 3: 'x' is undefined");
  CHECK(outcome("a\n\n{{ raise_exception('no ' ~ 1) }}", {}).error ==
        "chat template: line 3: no 1");
  CHECK(outcome("{% if 1 %}\n{{ 1 / 0 }}{% endif %}", {}).error ==
        "chat template: line 2: ZeroDivisionError: division by zero");
  CHECK(outcome("\n{{ m.x.y }}", {{"m", Json::object()}}).error ==
        "chat template: line 2: 'dict object' has no attribute 'x'");
  CHECK(outcome("{{ 1 }}\n{% nope %}", {}).error ==
        "chat template: line 2: Encountered unknown tag 'nope'");
  CHECK(outcome("{{ l.append(1) }}", {{"l", Json::array()}}).error ==
        "chat template: line 1: access to attribute 'append' of 'list' object is unsafe.");
}

TEST_CASE("chat template: what Jinja has and chat templates do not need is refused by name") {
  check_refused("{% block a %}{% endblock %}", "'block' is not supported");
  check_refused("{% include 'a' %}", "'include' is not supported");
  check_refused("{% extends 'a' %}", "'extends' is not supported");
  check_refused("{% import 'a' as b %}", "'import' is not supported");
  check_refused("{{ 'a' | urlize }}", "'urlize' is not supported");
  check_refused("{{ 'a'.encode('x') }}", "'encode' of 'str' is not supported");
  check_refused("{{ '\\N{BULLET}' }}", "not supported");
  check_refused("{{ 2 ** 64 }}", "64 bits");
  check_refused("{{ 9223372036854775808 }}", "64 bits");
  check_refused("{{ x }}", "64 bits", {{"x", 18446744073709551615ULL}});
}

TEST_CASE("chat template: a null is none, a missing key is undefined") {
  CHECK(render("{{ a is none }}{{ b is none }}{{ b is defined }}", {{"a", nullptr}}) ==
        "TrueFalseFalse");
  CHECK(render("[{{ a }}][{{ b }}]", {{"a", nullptr}}) == "[None][]");
}

TEST_CASE("chat template: the clock is the one given") {
  CHECK(render("{{ strftime_now('%d %b %Y %H:%M:%S') }}") == "24 Jul 2025 10:00:05");
  CHECK(ChatTemplate("{{ strftime_now('%Y-%m-%d') }}").render({}, 0).text == "1970-01-01");
  CHECK(render("{{ strftime_now('%1000000000d|%-d') }}") == "%1000000000d|24");
}

TEST_CASE("chat template: int and float read the decimal digits of every script") {
  CHECK(render("{{ '\xD9\xA3' | int(base=8) }}{{ '\xD9\xA1\xD9\xA7' | int }}") == "317");
  CHECK(render("{{ '\xF0\x9D\x9F\x99' | int }}{{ '\xD9\xA3.5' | float }}") == "13.5");
  CHECK(render("{{ '\xC2\xB2' | int(7) }}{{ '\xD9\xA9' | int(base=8) }}") ==
        "79");  // 9 is no octal digit
}

TEST_CASE("chat template: one template renders the same from many threads at once") {
  const ChatTemplate shared(
      "{% for m in messages %}{{ m.role ~ ':' ~ m.content | upper }};{% endfor %}");
  const Json context = {
      {"messages", {{{"role", "u"}, {"content", "a"}}, {{"role", "v"}, {"content", "b"}}}}};
  std::vector<std::string> texts(8);
  std::vector<std::thread> threads;
  for (std::string& text : texts) {
    threads.emplace_back([&] {
      for (int i = 0; i < 200; ++i) text = shared.render(context, 0).text;
    });
  }
  for (std::thread& thread : threads) thread.join();
  for (const std::string& text : texts) CHECK(text == "u:A;v:B;");
}

TEST_CASE("chat template: deep nesting is refused while parsing") {
  check_refused("{{ " + repeat("(", 100000) + "1" + repeat(")", 100000) + " }}",
                "nested too deeply");
  check_refused("{{ " + repeat("[", 100000), "nested too deeply");
  check_refused("{{ " + repeat("not ", 100000) + "1 }}", "nested too deeply");
  check_refused("{{ " + repeat("-", 100000) + "1 }}", "nested too deeply");
  check_refused("{{ " + repeat("{1:", 50000), "nested too deeply");
  check_refused("{{ 1" + repeat(" if 0 else 1", 50000) + " }}", "nested too deeply");
  check_refused(repeat("{% if 1 %}", 50000), "nested too deeply");
  check_refused(repeat("{% for a in b %}", 50000), "nested too deeply");
  check_refused("{% for " + repeat("(", 50000), "nested too deeply");
  check_refused("{{ 1" + repeat("+1", 100000) + " }}", "nested too deeply");
  check_refused("{{ a" + repeat(".b", 100000) + " }}", "nested too deeply");
  check_refused("{{ a" + repeat("|trim", 100000) + " }}", "nested too deeply");
  check_refused("{{ a" + repeat("()", 100000) + " }}", "nested too deeply");
  check_refused("{{ a is x" + repeat(" is x", 100000) + " }}", "");
}

TEST_CASE("chat template: nesting that real templates use is not refused") {
  CHECK(render(repeat("{% if 1 %}", 60) + "x" + repeat("{% endif %}", 60)) == "x");
  CHECK(render("{{ " + repeat("(", 60) + "1" + repeat(")", 60) + " }}") == "1");
  CHECK(render("{{ 0" + repeat(" + 1", 200) + " }}") == "200");
  CHECK(render("{{ ''" + repeat(" ~ 'a'", 5000) + " }}") == repeat("a", 5000));
  CHECK(render("{% if 0 %}" + repeat("{% elif 0 %}", 5000) + "{% else %}x{% endif %}") == "x");
  CHECK(render("{% macro m(n) %}{% if n %}{{ m(n - 1) }}{% else %}x{% endif %}{% endmacro %}{{ "
               "m(90) }}") == "x");
}

TEST_CASE("chat template: loops and recursion end after a bounded number of steps", "[slow]") {
  const std::string endless = "{% for a in range(100000) %}{% for b in range(100000) %}";
  check_refused(endless + "{% endfor %}{% endfor %}", "steps");
  check_refused(endless + "{{ a }}{% endfor %}{% endfor %}", "steps");
  check_refused("{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}", "recursion too deep");
  check_refused(
      "{% macro m(n) %}{% if n %}{{ m(n-1) }}{{ m(n-1) }}{% endif %}{% endmacro %}{{ m(90) }}",
      "steps");
  check_refused("{% for x in [1] recursive %}{{ loop([1]) }}{% endfor %}", "recursion too deep");
  check_refused("{% for i in range(10**9) %}{% endfor %}", "Range too big");
  check_refused(
      "{% set ns = namespace(s=[1]) %}{% for i in range(99999) %}{% set ns.s = ns.s|map('string') "
      "%}"
      "{% endfor %}{{ ns.s|list }}",
      "recursion too deep");
  check_refused(
      "{% set l = range(99999)|reverse|list %}{% for i in range(999) %}{% set x = l|sort %}{% "
      "endfor %}",
      "steps");
  check_refused(
      "{% set a = 'a' * 4000000 %}{% set b = 'a' * 2000000 ~ 'b' %}{% for i in range(9999) %}"
      "{{ b in a }}{% endfor %}",
      "steps");
  check_refused(
      "{% set a = 'é' * 4000000 %}{% for i in range(99999) %}{{ a[3999999] }}{% endfor %}",
      "steps");
  check_refused("{{ ('a' * 4000000).rfind('a' * 2000000 ~ 'b') }}", "steps");
}

TEST_CASE("chat template: texts and lists that explode are refused before they are built",
          "[slow]") {
  check_refused("{{ 'a' * 10**9 }}", "grows beyond");
  check_refused("{{ ('a' * 10**7) * 10**12 }}", "grows beyond");
  check_refused("{{ [1] * 10**9 }}", "grows beyond");
  check_refused("{{ 'a'|center(10**12) }}", "grows beyond");
  check_refused("{{ 'a'.zfill(10**12) }}", "grows beyond");
  check_refused("{{ ('\\n' * 1000000)|indent(1000000, true, true) }}", "grows beyond");
  check_refused("{{ '%1000000000000d' % 1 }}", "grows beyond");
  check_refused("{{ '{:1000000000000}'.format(1) }}", "grows beyond");
  check_refused("{{ [[[1]]]|tojson(indent=10**9) }}", "grows beyond");
  check_refused("{{ [1]|batch(10**12, 1)|list }}", "grows beyond");
  check_refused("{{ ('a' * 4000000).replace('a', 'b' * 100) }}", "grows beyond");
  check_refused("{% set s = 'x' * 1000000 %}{% for a in range(1000) %}{{ s }}{% endfor %}",
                "grows beyond");
  const std::string doubling =
      "{% for i in range(99999) %}{% set ns.s = ns.s + ns.s %}{% endfor %}";
  check_refused("{% set ns = namespace(s='ab') %}" + doubling, "beyond");
  check_refused("{% set ns = namespace(s=[1, 2]) %}" + doubling, "more than");
  check_refused("{{ ('a' * 40000000)|list|length }}", "more than");
  check_refused(
      "{% macro m(n) %}{{ 'x' * 10**7 }}{% if n %}{{ m(n-1) }}{% endif %}{% endmacro %}{{ m(90) }}",
      "more than");
}

TEST_CASE("chat template: values that share their parts cannot make printing or comparing explode",
          "[slow]") {
  std::string bomb = "{% set a = 'aaaaaaaaaa' %}{% set z = 'aaaaaaaaaa' %}";
  for (int i = 0; i < 30; ++i) bomb += "{% set a = [a, a, a] %}{% set z = [z, z, z] %}";
  check_refused(bomb + "{{ a }}", "");
  check_refused(bomb + "{{ a|tojson }}", "");
  check_refused(bomb + "{{ a == z }}", "steps");
  check_refused(bomb + "{{ a < z }}", "steps");
  std::string tuples = "{% set a = (1,) %}";
  for (int i = 0; i < 60; ++i) tuples += "{% set a = (a, a) %}";
  check_refused(tuples + "{{ {a: 1} }}", "steps");
  const std::string deep =
      "{% set ns = namespace(s=[1]) %}{% for i in range(99999) %}{% set ns.s = [ns.s] %}{% endfor "
      "%}";
  CHECK(render(deep + "ok") == "ok");
  check_refused(deep + "{{ ns.s }}", "recursion too deep");
  check_refused(deep + "{{ ns.s|tojson }}", "recursion too deep");
  check_refused("{% set ns = namespace() %}{% set ns.a = ns %}{{ ns }}", "recursion too deep");
}

TEST_CASE("chat template: the limits given are the limits that hold") {
  const std::string loop = "{% for i in range(1000) %}x{% endfor %}";
  CHECK(outcome(loop, {}, {.steps = 100}).error.find("stopped after 100 steps") !=
        std::string::npos);
  CHECK(outcome(loop, {}, {.output_bytes = 100}).error.find("100 bytes") != std::string::npos);
  CHECK(outcome("{{ ((((1)))) }}", {}, {.depth = 4}).error.find("nested too deeply") !=
        std::string::npos);
  CHECK(outcome(loop, {}).rendered.text.size() == 1000);
}

TEST_CASE("chat template: bytes that are not UTF-8 are refused in template and context") {
  check_refused("a\xff", "offset 1");
  check_refused("{{ x }}", "not UTF-8", {{"x", "a\xff"}});
  check_refused(std::string(2U << 20, ' '), "bytes of template");
}
