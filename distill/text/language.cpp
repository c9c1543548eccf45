#include "distill/text/language.h"

#include <algorithm>
#include <array>
#include <map>
#include <unordered_map>

#include "distill/text/words.h"
#include "formats/tokenizer/unicode.h"

namespace lancet {
namespace {

enum class Script {
  kLatin,
  kCyrillic,
  kGreek,
  kHan,
  kKana,
  kHangul,
  kArabic,
  kHebrew,
  kDevanagari,
  kThai,
  kOther
};
constexpr std::size_t kScripts = 11;

struct Range {
  char32_t first, last;
  Script script;
};
constexpr Range kRanges[] = {{0x41, 0x24F, Script::kLatin},     {0x370, 0x3FF, Script::kGreek},
                             {0x400, 0x52F, Script::kCyrillic}, {0x590, 0x5FF, Script::kHebrew},
                             {0x600, 0x6FF, Script::kArabic},   {0x900, 0x97F, Script::kDevanagari},
                             {0xE00, 0xE7F, Script::kThai},     {0x1100, 0x11FF, Script::kHangul},
                             {0x1E00, 0x1EFF, Script::kLatin},  {0x1F00, 0x1FFF, Script::kGreek},
                             {0x3040, 0x30FF, Script::kKana},   {0x3400, 0x4DBF, Script::kHan},
                             {0x4E00, 0x9FFF, Script::kHan},    {0xAC00, 0xD7A3, Script::kHangul},
                             {0x20000, 0x3FFFF, Script::kHan}};

/// The commonest function words of a language, as they are written in running text.
struct Profile {
  std::string_view code;
  Script script;
  std::string_view words;
};
constexpr Profile kProfiles[] = {
    {"en", Script::kLatin,
     "the of and to in a is that it for was on are as with be this by from at or have not you "
     "which an they but were can all has we if will would there what their"},
    {"de", Script::kLatin,
     "der die und in den von zu das mit sich des auf für ist im dem nicht ein eine als auch es an "
     "werden aus er hat dass sie nach wird bei einer um am sind noch wie einem über wir ich kann"},
    {"fr", Script::kLatin,
     "de la le et les des en un du une que est pour qui dans a par plus pas au sur ne se ce il "
     "sont avec son aux d l cette ou comme mais nous elle vous être ces ont je c"},
    {"es", Script::kLatin,
     "de la que el en y a los se del las un por con no una su para es al lo como más o pero sus le "
     "ha me si sin sobre este ya entre cuando todo esta ser son también fue"},
    {"it", Script::kLatin,
     "di e che la il un a per in una è sono del non le si con i da alla come dei più al gli della "
     "nel ha lo anche ma se o dal questo delle nella essere l d su"},
    {"pt", Script::kLatin,
     "de a o que e do da em um para é com não uma os no se na por mais as dos como mas foi ao ele "
     "das tem à seu sua ou ser quando muito nos já está eu também são"},
    {"nl", Script::kLatin,
     "de van het een en in is dat op te zijn met voor niet die er aan om ook als dan maar bij uit "
     "nog door naar wordt heeft ze over deze worden kan je wat was hij tot"},
    {"sv", Script::kLatin,
     "och i att det som en på är av för med till den har de inte om ett han men var jag sig från "
     "vi så kan när år också efter eller hade vid ska detta"},
    {"da", Script::kLatin,
     "og i at det er en til af på for med den de der som ikke et har han men var jeg om fra kan vi "
     "så ved eller efter også skal blev sig være dette"},
    {"fi", Script::kLatin,
     "ja on ei se että oli hän mutta ovat kun myös joka tai niin mukaan kuin ole sen jos sekä "
     "ollut voi vain nyt mitä tämä siitä jälkeen ovat minä"},
    {"pl", Script::kLatin,
     "w i na z do się nie jest to że o jak po od za dla przez co są był ale a ze jego oraz przy "
     "może tak tym ten jako być już tylko czy które"},
    {"cs", Script::kLatin,
     "a se v na je že to s z do o i ve jako pro k by za jsou ale od po které jeho však který ze si "
     "nebo byl až jsem není může tak při"},
    {"tr", Script::kLatin,
     "ve bir bu için ile de da olarak çok daha en gibi kadar sonra olan ne var olduğu ise ancak "
     "her ya o tarafından diye değil ama ki ben mi"},
    {"ro", Script::kLatin,
     "de și în a la cu că pe nu este un o din care pentru mai se sunt au al fi ce sau ca lui fost "
     "prin dar după între acest această"},
    {"hu", Script::kLatin,
     "a az és hogy nem is egy van meg volt de ezt csak ki már ha el mint azt még lehet vagy kell "
     "ami ez fel ezek között után majd"},
    {"id", Script::kLatin,
     "yang dan di dari untuk dengan pada ini itu dalam tidak adalah ke akan juga oleh sebagai bisa "
     "karena ada atau mereka telah saya dapat lebih kami seperti"},
    {"vi", Script::kLatin,
     "và của là có không được cho trong một các với người này để những đã khi như từ về đó tôi ra "
     "đến cũng nhiều vào lại phải"},
    {"ru", Script::kCyrillic,
     "и в не на что с как он по но а к это из за от для его же у так все то было бы о ее или мы "
     "быть когда уже чтобы который является"},
    {"uk", Script::kCyrillic,
     "і в не на що з як він по але а до це із за від для його же у так та є було би про її або ми "
     "бути коли вже щоб який"},
    {"bg", Script::kCyrillic,
     "и на в да се не за от е че с по са като до си това но ще при или той което има които след "
     "със може беше"},
    {"el", Script::kGreek, ""},
    {"ko", Script::kHangul, ""},
    {"he", Script::kHebrew, ""},
    {"th", Script::kThai, ""},
    {"ar", Script::kArabic,
     "في من على أن إلى عن التي مع هذا كان هذه الذي ما لا أو و كما قد بين بعد ذلك كل لم"},
    {"fa", Script::kArabic,
     "و در به از که این را با است برای آن یک می شده خود بر تا هم ها شود کرد باشد"},
    {"hi", Script::kDevanagari, ""}};

Script script_of(char32_t c) {
  for (const Range& range : kRanges) {
    if (c >= range.first && c <= range.last) return range.script;
  }
  return Script::kOther;
}

/// Letters of each script.
std::array<std::size_t, kScripts> count_scripts(std::string_view text) {
  std::array<std::size_t, kScripts> counts{};
  const std::uint8_t* classes = char_classes();
  for (std::size_t at = 0; at < text.size();) {
    const char32_t c = decode_at(text.data(), at);
    if ((classes[c] & kLetter) != 0) ++counts[static_cast<std::size_t>(script_of(c))];
  }
  return counts;
}

using WordTable = std::unordered_map<std::string_view, std::vector<std::size_t>>;

/// word -> profiles that have it.
const WordTable& word_table() {
  static const WordTable table = [] {
    WordTable made;
    for (std::size_t i = 0; i < std::size(kProfiles); ++i) {
      std::string_view rest = kProfiles[i].words;
      while (!rest.empty()) {
        const std::size_t end = std::min(rest.find(' '), rest.size());
        made[rest.substr(0, end)].push_back(i);
        rest.remove_prefix(std::min(end + 1, rest.size()));
      }
    }
    return made;
  }();
  return table;
}

/// The profile of `script` with most of the text's words, if it has enough of them and more than
/// the next one.
LanguageGuess by_words(std::string_view text, Script script) {
  const std::string normalised = normalise_text(text);
  const auto words = words_of(normalised);
  if (words.size() < kLanguageWords) return {};
  std::array<std::size_t, std::size(kProfiles)> votes{};
  for (const std::string_view word : words) {
    const auto found = word_table().find(word);
    if (found == word_table().end()) continue;
    for (const std::size_t profile : found->second) ++votes[profile];
  }
  std::size_t best = 0, most = 0, second = 0;
  for (std::size_t i = 0; i < votes.size(); ++i) {
    if (kProfiles[i].script != script) continue;
    if (votes[i] > most) {
      second = most;
      most = votes[i];
      best = i;
    } else if (votes[i] > second) {
      second = votes[i];
    }
  }
  const double share = static_cast<double>(most) / static_cast<double>(words.size());
  if (share < 0.08 || most == second) return {};
  return {std::string(kProfiles[best].code), share};
}

}  // namespace

LanguageGuess guess_language(std::string_view text) {
  auto counts = count_scripts(text);
  std::size_t letters = 0;
  for (const std::size_t count : counts) letters += count;
  if (letters == 0) return {};
  const auto share = [&](Script script) {
    return static_cast<double>(counts[static_cast<std::size_t>(script)]) /
           static_cast<double>(letters);
  };
  // Japanese is written with both: a tenth of kana among ideographs tells it from Chinese.
  const double kana = share(Script::kKana), han = share(Script::kHan);
  if (kana + han > 0.5) return {kana > 0.1 * (kana + han) ? "ja" : "zh", kana + han};
  const auto most =
      static_cast<std::size_t>(std::max_element(counts.begin(), counts.end()) - counts.begin());
  const auto script = static_cast<Script>(most);
  if (share(script) < 0.5) return {};
  for (const Profile& profile : kProfiles) {
    if (profile.script == script && profile.words.empty())
      return {std::string(profile.code), share(script)};
  }
  return by_words(text, script);
}

std::vector<std::string_view> known_languages() {
  std::vector<std::string_view> codes{"ja", "zh"};
  for (const Profile& profile : kProfiles) codes.push_back(profile.code);
  std::sort(codes.begin(), codes.end());
  return codes;
}

}  // namespace lancet
