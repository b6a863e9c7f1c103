// Words for people to compare by eye or aloud: 1,024 of them, so ten bits each. No two differ by one letter only. Order and content
// are part of the contract (check-words.ts): boot server, agent and control must agree on them.

export const WORDS: readonly string[] = `
acid acorn actor agent agile ahead aisle alarm album alder alert alley almond aloe alpha alpine amber amble amend
anchor angle antler anvil apple apron aqua arbor arena argue aroma arrow artist ascot aspen atlas atom attic audio
august aunt autumn avocado award axis axle bacon badge bagel baker balcony ballet balm bamboo banana band banjo
barley barn barrel basil basket bay beach beam beard beaver bee beetle bell berry bike birch bird biscuit bishop
bison blade blank blend block bloom blue bluff blush boat bobbin bonus border botany bottle boulder bowl box
bracket braid brass brave bread breeze brick brief bright brine bronze brook brown bubble bucket buckle buffet
bugle build bulb bundle bunny burrow bus butter button buzz cabin cable cactus cage camel camera camp canal candle
candy canoe canopy canvas canyon caramel caravan carbon card cargo carol carpet carrot cash castle catch cedar
cello cement chain chalk charm cheese cherry chess chief chime chip chord cider cinema circle circus citrus city
clam clarinet clasp clean clever cliff climb cloth cloud club coach coast cobalt cobra cocoa coconut code coffee
coil comb comet comic compass copper coral cork corner cosmos cotton cougar count cousin cover cow crab cradle
craft crane crater crayon cream creek crest cricket crisp crop crumb crystal cube cuckoo cup curb curry curtain
curve cycle cymbal cypress daily dance dapper dark date dawn deal deck decoy deep delta denim depot desert dew
diamond diary dice diesel digit dinner diploma dish diver dolphin dome donkey door dory dozen dragon drake drama
drawer dress drift drill drum dune dusk duty eager eagle early earth easel easy echo egg eight elbow elk emerald
emu engine ensign envoy epic equal equator era ermine errand escort essay estate ether ever exact exit expert
extra eye fabric face fair falcon fan farm fathom faucet feast feather fence fern fiber fiddle field fig film
filter finch fire first flag flame flannel flash fleet flint floor flora flow flute foam focus folk font forest
fossil fountain four fresh friar frog frost fruit fudge full funnel fuse gadget galaxy gallery gallop gamma garage
garden garlic garnet gauge gazelle gecko gem genie gentle geyser giant gift ginger giraffe glacier glad glass
glaze glen glide globe gold gong goose gorge gourd gown grain granite grape gravel gravy green grid grove guava
guest guitar gulf guppy habit hail half hammer hammock hamster hare harvest hat haven hawk hazel heart heath hedge
helium helmet herb hermit heron hickory hill hinge hippo hive hobby hockey holly honey hood horizon horse hotel
hound hub humble hunter husky hydrant hymn ibis icicle icon idea igloo iguana indigo infant inlet inn insect
island ivory ivy jacket jade jaguar jam jasmine jazz jeans jelly jersey jet jewel jigsaw joint joker journal joy
juice jumbo jump jungle junior juniper jury kale kayak keel kelp kennel kettle key kilo kind kiosk kite kitten
kiwi knee knight knob koala label ladder lady lagoon lake lamb lantern laptop larch large laser lasso lava leaf
league leek lemon lens lentil leopard letter level lilac lily lime limit linen lion liquid list lively lizard
llama lobster local locket lodge loft log lotus lounge lucky lumber lunar lunch lynx lyric macaw magic magma
magnet magpie major mammoth mango mantle map maple marble margin marina market maroon marsh mason mast math mauve
maze meadow medal medley mellow melon mentor menu merit mesa meteor metro mild mimosa mineral mint minute mirror
mixer model modest mohair mole moment monk moon morning mosaic moss motor mouse movie mud muscle museum music
mustard nacho napkin native nature navy neat nectar needle neon nephew nickel niece nimble nine noble noise north
notch note novel nurse nut nutmeg nylon oak oasis oboe ocean ocelot octave octopus offer office olive omelet onion
onyx opal open opera optic oracle orbit orchard orchid organ oriole osprey ostrich otter ounce owner oxide oyster
paddle pagoda paint palace palette panda panel panther papaya paper parade parcel parsley pasta patio peak peanut
pearl pebble pecan pelican pencil penguin pepper perch petal piano picnic pier pigeon pillar pillow pilot pink
pipe pitcher pixel plain plane plaza plum poem polar polka pond poppy port potato pottery powder prairie pretzel
prime prince prism proud prune public pudding puffin pulley pulse puma pumpkin pupil puppet purple puzzle python
quail quaint quarry quart queen quick quiet quill quince quiver quiz quota rabbit raccoon radar radio radish
raisin rally ranch range rapid ravine razor reef relay relish remote reptile resin rhino rhyme ribbon ridge ring
ripple road robin robot rodeo roof rooster rope route royal ruby rudder rug rumba runner rural safari saffron
salad salmon salt salute sample sandal satin saturn sauce sauna scale scarf scene school science scout screen
scroll sea season second seed seesaw senior sentry sepia sequoia seven shade shadow shark shawl sheep shell
sherbet shield shirt shore shovel shrimp shrub shuttle sierra signal silk silver siren six skate sketch ski slice
slope small smile smoke snail snow soap soccer sock soda solid solo sonar sonnet south space spear speech spider
spinach spiral spoon spring sprout spruce squad square squash stable stadium staff stage stair stamp station
statue steam steel step stereo stone stool storm straw street studio sugar suit summer summit sun sunset surf swan
sweater swift swim swing sword syrup system tablet taco tailor talent tank tape target tart tassel taxi temple
tempo tennis tent term terrace thatch theme thistle thorn thread three thumb thunder ticket tide tiger timber
tinsel tiny tomato tongue topaz torch totem toucan towel track tractor trade trail tram trellis trend tribe trio
trolley trophy trout trumpet trunk truth tuba tugboat tulip tundra tunic turbine turkey turnip turtle tutor tuxedo
twelve twig two tycoon uncle under unicorn uniform unit upper uranium urban urchin usher valve vanilla vapor vase
vault vector velvet vendor venue verse vessel vest viaduct view villa village vinyl violet violin visit visor
vivid voice volcano voyage wafer waffle wagon waist walnut walrus waltz wasp wave wax whale wharf wheat wheel
white wick widget window winter wise wolf wonder wool world worm wreath wren yacht year yoga yogurt young yucca
zebra zen zenith zephyr zero zigzag zinc zipper zither zodiac zone zoo
`
  .trim()
  .split(/\s+/);
