package quickcommerce.search;

import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.file.Path;
import java.util.Map;

import org.elasticsearch.common.logging.LogConfigurator;
import org.elasticsearch.common.settings.Settings;
import org.elasticsearch.env.Environment;
import org.elasticsearch.node.InternalSettingsPreparer;
import org.elasticsearch.node.Node;
import org.elasticsearch.plugins.PluginsLoader;

/** Runs one node until it is told to stop: Launcher HOME CONFIG, both folders. */
public final class Launcher {

    private Launcher() {}

    public static void main(String[] arguments) throws Exception {
        Path config = Path.of(arguments[1]);
        Settings home = Settings.builder().put(Environment.PATH_HOME_SETTING.getKey(), arguments[0]).build();
        LogConfigurator.registerErrorListener();
        LogConfigurator.configureESLogging();
        Environment environment = InternalSettingsPreparer.prepareEnvironment(home, Map.of(), config, () -> "node");
        LogConfigurator.configure(environment, true);

        Node node = new Node(environment, load(environment));
        Runtime.getRuntime().addShutdownHook(new Thread(() -> close(node)));
        node.start();
        // The threads of a node are daemons: they would end with this one.
        Thread.currentThread().join();
    }

    private static PluginsLoader load(Environment environment) throws IOException {
        var modules = PluginsLoader.loadModulesBundles(environment.modulesDir());
        var plugins = PluginsLoader.loadPluginsBundles(environment.pluginsDir());
        return PluginsLoader.createPluginsLoader(modules, plugins, Map.of(), false);
    }

    private static void close(Node node) {
        try {
            node.close();
        } catch (IOException error) {
            throw new UncheckedIOException(error);
        }
    }
}
