package quickcommerce.search;

import java.io.IOException;
import java.io.StringReader;
import java.io.UncheckedIOException;
import java.util.EnumSet;
import java.util.List;
import java.util.Locale;
import java.util.Set;

import org.apache.lucene.analysis.TokenStream;
import org.apache.lucene.analysis.ko.KoreanAnalyzer;
import org.apache.lucene.analysis.ko.KoreanPartOfSpeechStopFilter;
import org.apache.lucene.analysis.ko.KoreanTokenizer;
import org.apache.lucene.analysis.ko.KoreanTokenizer.DecompoundMode;
import org.apache.lucene.analysis.ko.POS;
import org.apache.lucene.analysis.ko.dict.UserDictionary;
import org.elasticsearch.common.settings.Settings;
import org.elasticsearch.env.Environment;
import org.elasticsearch.index.analysis.Analysis;

/**
 * What an index says about its Korean analysis, under the names of the official plugin's settings.
 *
 * @param words of the index's own, or null
 * @param compounds whether a compound is kept, taken apart, or both
 * @param keepPunctuation whether signs between words are tokens
 * @param unwanted parts of speech that are not searched for, such as endings
 */
record Korean(UserDictionary words, DecompoundMode compounds, boolean keepPunctuation, Set<POS.Tag> unwanted) {

    static Korean of(Environment environment, Settings settings) {
        String compounds = settings.get("decompound_mode", "discard").toUpperCase(Locale.ROOT);
        boolean discardPunctuation = settings.getAsBoolean("discard_punctuation", true);
        return new Korean(
            words(environment, settings),
            DecompoundMode.valueOf(compounds),
            discardPunctuation == false,
            unwanted(environment, settings)
        );
    }

    KoreanTokenizer tokenizer() {
        var factory = TokenStream.DEFAULT_TOKEN_ATTRIBUTE_FACTORY;
        return new KoreanTokenizer(factory, words, compounds, false, keepPunctuation == false);
    }

    TokenStream withoutUnwanted(TokenStream tokens) {
        return new KoreanPartOfSpeechStopFilter(tokens, unwanted);
    }

    KoreanAnalyzer analyzer() {
        return new KoreanAnalyzer(words, compounds, unwanted, false);
    }

    private static UserDictionary words(Environment environment, Settings settings) {
        List<String> rules =
            Analysis.getWordList(environment, settings, "user_dictionary", "user_dictionary_rules", true);
        if (rules == null || rules.isEmpty()) {
            return null;
        }
        try {
            return UserDictionary.open(new StringReader(String.join("\n", rules)));
        } catch (IOException error) {
            throw new UncheckedIOException(error);
        }
    }

    private static Set<POS.Tag> unwanted(Environment environment, Settings settings) {
        List<String> names = Analysis.getWordList(environment, settings, "stoptags");
        if (names == null) {
            return KoreanPartOfSpeechStopFilter.DEFAULT_STOP_TAGS;
        }
        Set<POS.Tag> tags = EnumSet.noneOf(POS.Tag.class);
        for (String name : names) {
            tags.add(POS.Tag.valueOf(name));
        }
        return tags;
    }
}
